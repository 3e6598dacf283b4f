package main

import (
	"bytes"
	"context"
	"io"
	"testing"
)

// stalled sends an archive with an entry of several parts up to its middle, and
// returns once the program is busy with it; go on sends the rest.
type stalled struct {
	rest   chan struct{} // closed to go on
	answer chan uploadAnswer
	err    chan error
}

func stall(t *testing.T, api string, zip []byte) *stalled {
	t.Helper()
	u := &stalled{rest: make(chan struct{}), answer: make(chan uploadAnswer, 1), err: make(chan error, 1)}
	sent := make(chan struct{})
	ctx := within(t)
	content := io.MultiReader(
		bytes.NewReader(zip[:len(zip)/2]),
		&gate{ctx: ctx, reached: sent, open: u.rest},
		bytes.NewReader(zip[len(zip)/2:]),
	)
	go func() {
		a, err := send(ctx, api, "dev", content)
		u.answer <- a
		u.err <- err
	}()
	select {
	case <-sent: // far more than the sockets between us could take
	case <-ctx.Done():
		t.Fatal("the program does not read")
	}
	return u
}

// stallAt is stall of a service.
func stallAt(t *testing.T, api string, zip []byte) *stalled {
	t.Helper()
	u := &stalled{rest: make(chan struct{}), answer: make(chan uploadAnswer, 1), err: make(chan error, 1)}
	content := io.MultiReader(bytes.NewReader(zip[:len(zip)/2]), &gate{ctx: within(t), open: u.rest}, bytes.NewReader(zip[len(zip)/2:]))
	go func() {
		a, err := send(within(t), api, "dev", content)
		u.answer <- a
		u.err <- err
	}()
	return u
}

func (u *stalled) wait(t *testing.T) uploadAnswer {
	t.Helper()
	if err := <-u.err; err != nil {
		t.Fatal(err)
	}
	return <-u.answer
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
