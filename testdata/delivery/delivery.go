// Package delivery tests what users get: it makes the release twice, and runs the container
// image. Its tests need podman and runc, minutes of time and the build tag delivery, which
// `make delivery` brings.
package delivery
