package stream

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic in what works for an upload: a defect, which ends that
// upload and none of the others.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine, see [debug.Stack]
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Guard calls f, and turns a panic of it into a [*PanicError].
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	return f()
}

// handOver is Guard of a call that takes b, which may be nil, over: after a panic
// of it, b is released all the same.
func handOver(b Body, call func() error) error {
	err := Guard(call)
	if _, ok := errors.AsType[*PanicError](err); ok && b != nil {
		b.Release()
	}
	return err
}
