//go:build !linux

package serve

import "net"

// hasArrived is implemented for Linux only.
func hasArrived(*net.TCPConn) bool { return false }
