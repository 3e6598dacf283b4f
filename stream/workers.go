package stream

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"spillway/internal/account"
	"spillway/internal/guard"
)

// maxWorkers is how many entries of an archive are verified or committed at once.
const maxWorkers = 64

// workers verify and commit the entries of one archive while its reader goes on. The
// reader's account is charged for the time that it waits for them.
type workers struct {
	group   errgroup.Group // its functions return nil: fail gets the errors
	account *account.Account
	fail    func(error)

	mu         sync.Mutex // guards the fields below; taken before Account.mu
	storing    int        // workers that wait for the store
	readerWait bool       // the reader waits for workers
}

func (w *workers) init(a *account.Account, fail func(error)) {
	w.account, w.fail = a, fail
	w.group.SetLimit(maxWorkers)
}

// do calls f in a worker. It waits while all workers are busy. An error of f ends the
// reading.
func (w *workers) do(f func() error) {
	defer w.waiting()()
	w.group.Go(func() error {
		if err := guard.Do(f); err != nil {
			w.fail(err)
		}
		return nil
	})
}

// wait waits until all workers have finished.
func (w *workers) wait() {
	defer w.waiting()()
	_ = w.group.Wait()
}

// commit commits an object. It is called by a worker.
func (w *workers) commit(ctx context.Context, obj Object, body Body, facts Facts) error {
	w.addStoring(1)
	defer w.addStoring(-1)
	return transfer(body, func() error { return obj.Commit(ctx, body, facts) })
}

// waiting marks the reader as waiting for workers until done is called.
func (w *workers) waiting() (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readerWait = true
	before := w.account.Switch(w.label())
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.readerWait = false
		w.account.Switch(before)
	}
}

// addStoring counts workers that wait for the store.
func (w *workers) addStoring(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.storing += n
	if w.readerWait {
		w.account.Switch(w.label())
	}
}

// label returns what a waiting reader is blocked on: the store if a worker is, else the
// processor. The caller holds w.mu.
func (w *workers) label() account.Label {
	if w.storing > 0 {
		return account.OnStore
	}
	return account.OnCPU
}

// transfer calls a function that takes ownership of b, which may be nil. If it panics,
// transfer releases b.
func transfer(b Body, call func() error) error {
	err := guard.Do(call)
	if _, ok := errors.AsType[*guard.PanicError](err); ok && b != nil {
		b.Release()
	}
	return err
}
