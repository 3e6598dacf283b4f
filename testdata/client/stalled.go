package client

import (
	"bytes"
	"context"
	"io"
	"testing"
)

// Stalled is an upload of which the first half has been sent. It goes on when Rest
// is closed.
type Stalled struct {
	Rest   chan struct{} // the caller closes it to send the other half
	Answer chan Answer
	Err    chan error
}

// SendHalfAndWait is [SendHalf], and returns once the server has read that half.
func SendHalfAndWait(t *testing.T, api string, zip []byte) *Stalled {
	t.Helper()
	u := &Stalled{Rest: make(chan struct{}), Answer: make(chan Answer, 1), Err: make(chan error, 1)}
	sent := make(chan struct{})
	ctx := Within(t)
	content := io.MultiReader(
		bytes.NewReader(zip[:len(zip)/2]),
		&gate{ctx: ctx, reached: sent, open: u.Rest},
		bytes.NewReader(zip[len(zip)/2:]),
	)
	go func() {
		a, err := Send(ctx, api, "dev", content)
		u.Answer <- a
		u.Err <- err
	}()
	select {
	case <-sent: // far more than the sockets between us could take
	case <-ctx.Done():
		t.Fatal("the program does not read")
	}
	return u
}

// SendHalf sends the first half of an archive with the token dev.
func SendHalf(t *testing.T, api string, zip []byte) *Stalled {
	t.Helper()
	u := &Stalled{Rest: make(chan struct{}), Answer: make(chan Answer, 1), Err: make(chan error, 1)}
	content := io.MultiReader(bytes.NewReader(zip[:len(zip)/2]), &gate{ctx: Within(t), open: u.Rest}, bytes.NewReader(zip[len(zip)/2:]))
	go func() {
		a, err := Send(Within(t), api, "dev", content)
		u.Answer <- a
		u.Err <- err
	}()
	return u
}

// Wait waits for the upload's end.
func (u *Stalled) Wait(t *testing.T) Answer {
	t.Helper()
	if err := <-u.Err; err != nil {
		t.Fatal(err)
	}
	return <-u.Answer
}

// gate is an empty reader that ends once it is open.
type gate struct {
	ctx     context.Context
	reached chan<- struct{}
	open    <-chan struct{}
}

func (g *gate) Read([]byte) (int, error) {
	if g.reached != nil {
		close(g.reached)
		g.reached = nil
	}
	select {
	case <-g.open:
		return 0, io.EOF
	case <-g.ctx.Done():
		return 0, context.Cause(g.ctx)
	}
}
