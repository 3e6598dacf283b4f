package ziptest

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Stalling is a client that sends some bytes and then stalls until it is interrupted.
type Stalling struct {
	io.Reader
	Stalled chan struct{} // closed once it stalls

	interrupted chan struct{} // closed by Interrupt
	once        sync.Once
}

// Stall returns a client that sends data and then stalls.
func Stall(data []byte) *Stalling {
	return &Stalling{Reader: bytes.NewReader(data), Stalled: make(chan struct{}), interrupted: make(chan struct{})}
}

// Read implements [io.Reader].
func (s *Stalling) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	s.once.Do(func() { close(s.Stalled) })
	<-s.interrupted
	return 0, errors.New("interrupted")
}

// Interrupt implements [Interrupter].
func (s *Stalling) Interrupt() { close(s.interrupted) }
