package ziptest

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Stalling is a client that sends some bytes and then stalls, until it is let go or
// interrupted.
type Stalling struct {
	Stalled chan struct{} // closed once it stalls

	sent, rest io.Reader
	stall      sync.Once
	goesOn     chan struct{}
	letGo      sync.Once // closes goesOn
}

// Stall returns a client that sends data and then stalls. It has nothing more to send.
func Stall(data []byte) *Stalling { return StallAt(data, len(data)) }

// StallAt returns a client that stalls after n bytes of data.
func StallAt(data []byte, n int) *Stalling {
	return &Stalling{Stalled: make(chan struct{}), sent: bytes.NewReader(data[:n]), rest: bytes.NewReader(data[n:]), goesOn: make(chan struct{})}
}

// Read implements [io.Reader].
func (s *Stalling) Read(p []byte) (int, error) {
	if n, err := s.sent.Read(p); err == nil {
		return n, nil
	}
	s.stall.Do(func() { close(s.Stalled) })
	<-s.goesOn
	return s.rest.Read(p)
}

// LetGo has the client send the rest.
func (s *Stalling) LetGo() { s.letGo.Do(func() { close(s.goesOn) }) }

// Interrupt implements [Interrupter], unless the client has been let go.
func (s *Stalling) Interrupt() {
	s.letGo.Do(func() {
		s.rest = interrupted{}
		close(s.goesOn)
	})
}

type interrupted struct{}

func (interrupted) Read([]byte) (int, error) { return 0, errors.New("interrupted") }
