package s3sink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// stage is how far an attempt has got.
type stage int32

const (
	waiting     stage = iota // for a connection
	resolving                // the host name
	connecting               // to the host
	handshaking              // TLS
	connected                // sending the request, or waiting for the answer
)

func (s stage) String() string {
	return [...]string{"waiting for a connection", "looking up the host", "connecting", "in the TLS handshake", "waiting for the answer"}[s]
}

// A stageError says how far an attempt had got when its time was over.
type stageError struct {
	stage
	err error
}

func (e *stageError) Error() string { return fmt.Sprintf("%s: %s", e.stage, e.err) }
func (e *stageError) Unwrap() error { return e.err }

// stageWatch follows an attempt.
type stageWatch struct{ at atomic.Int32 }

// watchStage returns a context for one attempt, and what follows it.
func watchStage(ctx context.Context) (context.Context, *stageWatch) {
	w := &stageWatch{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:           func(string) { w.at.Store(int32(waiting)) },
		DNSStart:          func(httptrace.DNSStartInfo) { w.reach(resolving) },
		ConnectStart:      func(string, string) { w.reach(connecting) },
		TLSHandshakeStart: func() { w.reach(handshaking) },
		GotConn:           func(httptrace.GotConnInfo) { w.at.Store(int32(connected)) },
	}), w
}

// reach records a stage. The transport may still dial for a request that got another
// connection meanwhile: that changes nothing.
func (w *stageWatch) reach(s stage) {
	for at := w.at.Load(); at < int32(s); at = w.at.Load() {
		if w.at.CompareAndSwap(at, int32(s)) {
			return
		}
	}
}

// failed adds to the error of an attempt how far it had got, if its time was over. ctx is
// the attempt's.
func (w *stageWatch) failed(ctx context.Context, err error) error {
	timeout, isNet := errors.AsType[net.Error](err)
	if ctx.Err() == nil && (!isNet || !timeout.Timeout()) {
		return err
	}
	return &stageError{stage(w.at.Load()), err}
}
