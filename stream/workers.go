package stream

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"spillway/internal/account"
	"spillway/internal/guard"
)

// atOnce is how many entries of an archive may be on their way through
// verification and the store's answers at once.
const atOnce = 64

// workers take the entries of one archive on while its reader goes on to the
// next. What they keep the reader waiting for goes to its account.
type workers struct {
	group   errgroup.Group // its functions return no errors: fail has them
	account *account.Account
	fail    func(error)

	mu      sync.Mutex // guards what follows; taken before Account.mu
	storing int        // those that wait for the store
	waits   bool       // the reader waits for workers
}

func (w *workers) init(a *account.Account, fail func(error)) {
	w.account, w.fail = a, fail
	w.group.SetLimit(atOnce)
}

// do has a worker call f, once there is one. Its error ends the reading.
func (w *workers) do(f func() error) {
	defer w.waiting()()
	w.group.Go(func() error {
		if err := guard.Do(f); err != nil {
			w.fail(err)
		}
		return nil
	})
}

// wait waits until all of them are done.
func (w *workers) wait() {
	defer w.waiting()()
	_ = w.group.Wait()
}

// commit commits the object of an entry, in a worker.
func (w *workers) commit(ctx context.Context, obj Object, body Body, facts Facts) error {
	w.stores(1)
	defer w.stores(-1)
	return handOver(body, func() error { return obj.Commit(ctx, body, facts) })
}

// waiting says that the reader waits for workers, until it calls done.
func (w *workers) waiting() (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = true
	before := w.account.Switch(w.on())
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waits = false
		w.account.Switch(before)
	}
}

// stores says that n more workers wait for the store.
func (w *workers) stores(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.storing += n
	if w.waits {
		w.account.Switch(w.on())
	}
}

// on is what a reader that waits for workers is blocked on. While all of them
// work, the upload does. The caller holds w.mu.
func (w *workers) on() account.Label {
	if w.storing > 0 {
		return account.OnStore
	}
	return account.OnCPU
}

// handOver calls what takes b over. b may be nil. If the call panics, b is released
// all the same.
func handOver(b Body, call func() error) error {
	err := guard.Do(call)
	if _, ok := errors.AsType[*guard.PanicError](err); ok && b != nil {
		b.Release()
	}
	return err
}
