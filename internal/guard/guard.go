// Package guard turns panics into errors, so that a bug ends one upload and not the
// process.
package guard

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic that [Do] recovered from: a bug.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked, see [debug.Stack]
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Do calls f. If f panics, the error is a [*PanicError].
func Do(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	return f()
}
