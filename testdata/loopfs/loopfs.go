// Package loopfs mounts ext4 file systems from files. Tests can freeze one: calls that
// write then hang until the file system is thawed. It needs Linux.
package loopfs
