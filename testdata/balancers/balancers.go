// Package balancers tests two instances of Spillway behind nginx and HAProxy, with the
// settings of the folder deploy. Its tests need both programs, minutes of time and the build
// tag delivery, which `make balancers` brings.
package balancers
