package tokens

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// tokensPoll is how often the tokens file is checked for changes.
	tokensPoll = time.Second

	// tokensTimeout is how long a check of the tokens file may take before it counts as
	// hanging.
	tokensTimeout = 5 * time.Second
)

// errTokensHang reports that the file system of the tokens file does not respond.
var errTokensHang = fmt.Errorf("reading it has taken longer than %v", tokensTimeout)

// Load reads a tokens file. The set also has the fixed entries. Call [Set.Watch] to
// follow changes of the file. If the file system hangs, Load hangs too.
func Load(path string, log *zap.Logger, fixed ...Token) (*Set, error) {
	t := &Set{path: path, fixed: fixed, log: log, read: read, reload: make(chan struct{}, 1)}
	c := t.check(nil)
	if c.err == nil {
		c.err = t.set(slices.Concat(t.fixed, c.tokens))
	}
	if c.err != nil {
		return nil, c.err
	}
	t.seen, t.asOf = c.seen, time.Now()
	return t, nil
}

// Reload makes [Set.Watch] read the tokens file again even if it has not changed. It
// does not wait for that.
func (t *Set) Reload() {
	select {
	case t.reload <- struct{}{}:
	default: // already requested
	}
}

// Watch reads the tokens file when it has changed, and on [Set.Reload], until ctx ends.
// While the file cannot be used, the tokens in force stay, and Watch reads the file
// every second: it may recover without a visible change. If a check hangs, Watch logs
// that and starts no other one. It does not wait for it when ctx ends.
//
// Watch also probes the [Upstream].
func (t *Set) Watch(ctx context.Context) {
	if t.upstream != nil {
		var probing sync.WaitGroup
		probing.Go(func() { t.upstream.watch(ctx) })
		defer probing.Wait()
	}
	if t.path == "" {
		return
	}
	ticker := time.NewTicker(tokensPoll)
	defer ticker.Stop()
	for {
		requested := false
		select {
		case <-ctx.Done():
			return
		case <-t.reload:
			requested = true
		case <-ticker.C:
		}
		t.follow(ctx, requested)
	}
}

// follow checks the file once and applies the result. If requested is set, it reads
// the file even if that has not changed, and logs the result in any case.
func (t *Set) follow(ctx context.Context, requested bool) {
	inForce := t.inForce()
	if requested {
		inForce = nil
	}
	ended := make(chan tokensCheck, 1) // buffered, so that a check can end although nobody waits for it
	go func() { ended <- t.check(inForce) }()
	timeout := time.NewTimer(tokensTimeout)
	defer timeout.Stop()
	var reload <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-ended:
			t.apply(c, requested)
			return
		case <-timeout.C:
			reload = t.reload
			t.hang(requested)
		case <-reload:
			t.hang(true)
		}
	}
}

// tokensCheck is the result of a check of the tokens file.
type tokensCheck struct {
	seen      os.FileInfo // nil if the file does not exist
	unchanged bool        // so the file was not read
	tokens    []Token
	err       error
}

// check reads the file, unless it is still inForce. It may hang.
func (t *Set) check(inForce os.FileInfo) tokensCheck {
	// Stat comes first: if the file changes before it is read, it is read again.
	seen, _ := os.Stat(t.path)
	if inForce != nil && sameFile(seen, inForce) {
		return tokensCheck{seen: seen, unchanged: true}
	}
	tokens, err := t.read(t.path)
	return tokensCheck{seen: seen, tokens: tokens, err: err}
}

// inForce returns the file whose tokens are in force; nil if the last check failed.
func (t *Set) inForce() os.FileInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return nil
	}
	return t.seen
}

// apply puts the result of a check into force. It logs a repeated failure only if
// requested is set.
func (t *Set) apply(c tokensCheck, requested bool) {
	if c.err == nil && !c.unchanged {
		c.err = t.set(slices.Concat(t.fixed, c.tokens))
	}
	t.mu.Lock()
	works, same := t.failed == nil, sameFile(c.seen, t.seen) && reasonOf(c.err) == reasonOf(t.failed)
	t.seen, t.failed = c.seen, c.err
	if c.err == nil {
		t.asOf = time.Now()
	}
	t.mu.Unlock()
	if loaded := !c.unchanged || !works; c.err == nil && loaded || c.err != nil && (requested || !same) {
		t.logResult(c.err)
	}
}

// hang records that a check hangs. It logs that once, or if requested is set.
func (t *Set) hang(requested bool) {
	t.mu.Lock()
	same := errors.Is(t.failed, errTokensHang)
	t.failed = errTokensHang
	t.mu.Unlock()
	if requested || !same {
		t.logResult(errTokensHang)
	}
}

// logResult logs the result of reading the file.
func (t *Set) logResult(err error) {
	if err != nil {
		t.log.Error("tokens file cannot be used: the tokens in force stay", zap.String("path", t.path), zap.Error(err))
		return
	}
	t.log.Info("tokens file loaded", zap.String("path", t.path), zap.Int("tokens", len(*t.entries.Load())))
}

// sameFile reports whether a file has not changed. nil is a file that does not exist.
func sameFile(now, before os.FileInfo) bool {
	if now == nil || before == nil {
		return now == before
	}
	return os.SameFile(now, before) && now.ModTime().Equal(before.ModTime()) && now.Size() == before.Size()
}

// reasonOf returns why a tokens file cannot be used, without paths and content. All
// errors in the content have the same reason. It returns "" for nil.
func reasonOf(err error) string {
	for _, known := range []error{errTokensHang, errNotRegular, errTokensTooLarge} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if err != nil {
		return "its content is invalid"
	}
	return ""
}
