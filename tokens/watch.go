package tokens

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// tokensPoll is how often the tokens file is looked at for changes.
	tokensPoll = time.Second

	// tokensTimeout is how long a look at the tokens file may take before it
	// counts as hanging.
	tokensTimeout = 5 * time.Second
)

// errTokensHang says that the tokens file cannot be read because its file system
// does not answer.
var errTokensHang = fmt.Errorf("reading it has taken longer than %v", tokensTimeout)

// Load reads a tokens file. The fixed entries are there beside those of the file.
// Call [Set.Watch] to follow its changes. On a file system that hangs, Load hangs
// too.
func Load(path string, log *zap.Logger, fixed ...Token) (*Set, error) {
	t := &Set{path: path, fixed: fixed, log: log, read: read, reload: make(chan struct{}, 1)}
	l := t.look(nil)
	if l.err == nil {
		l.err = t.set(slices.Concat(t.fixed, l.tokens))
	}
	if l.err != nil {
		return nil, l.err
	}
	t.seen, t.asOf = l.seen, time.Now()
	return t, nil
}

// Reload has [Set.Watch] read the tokens file again, whether it has changed or
// not. It does not wait for that.
func (t *Set) Reload() {
	select {
	case t.reload <- struct{}{}:
	default: // it is going to
	}
}

// Status is how a tokens file is doing.
type Status struct {
	// Err says why the file cannot be used; nil if it can. Reason is the same
	// without paths and content, so that it may be public.
	Err    error
	Reason string

	// AsOf is when the file last was what is in force: about now if it can be
	// used.
	AsOf time.Time

	// Usable is how many of the tokens in force may upload anything now.
	Usable int
}

// Status returns how the tokens file is doing. Without a file, it is well.
func (t *Set) Status() Status {
	now := time.Now()
	t.mu.Lock()
	s := Status{Err: t.failed, Reason: reasonOf(t.failed), AsOf: t.asOf}
	t.mu.Unlock()
	if t.path == "" {
		s.AsOf = now
	}
	for _, entry := range *t.entries.Load() {
		if entry.usable(now) == nil {
			s.Usable++
		}
	}
	return s
}

// Watch reads the tokens file whenever it has changed, and on [Set.Reload],
// until ctx ends. While the file cannot be used, the tokens in force stay, and it
// is read again and again: what is in its way may go away without a change that
// shows. A look that hangs is logged, and no other is begun beside it. Watch does
// not wait for it when ctx ends.
func (t *Set) Watch(ctx context.Context) {
	if t.path == "" {
		return
	}
	ticker := time.NewTicker(tokensPoll)
	defer ticker.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-t.reload:
			asked = true
		case <-ticker.C:
		}
		t.follow(ctx, asked)
	}
}

// follow looks at the file once and applies what it finds. If asked is set, it
// reads the file even if that has not changed, and logs what comes of it.
func (t *Set) follow(ctx context.Context, asked bool) {
	known := t.known()
	if asked {
		known = nil
	}
	ended := make(chan tokensLook, 1) // with room, so that a look that nobody waits for can end
	go func() { ended <- t.look(known) }()
	hangs := time.NewTimer(tokensTimeout)
	defer hangs.Stop()
	var again <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-ended:
			t.apply(l, asked)
			return
		case <-hangs.C:
			again = t.reload
			t.hang(asked)
		case <-again:
			t.hang(true)
		}
	}
}

// tokensLook is what a look at the tokens file finds.
type tokensLook struct {
	seen      os.FileInfo
	unchanged bool // it was not read, for that
	tokens    []Token
	err       error
}

// look reads the file unless it still is what is known. It may hang.
func (t *Set) look(known os.FileInfo) tokensLook {
	// Looked at before it is read: what changes in between is read again.
	seen, _ := os.Stat(t.path)
	if known != nil && sameFile(seen, known) {
		return tokensLook{seen: seen, unchanged: true}
	}
	tokens, err := t.read(t.path)
	return tokensLook{seen: seen, tokens: tokens, err: err}
}

// known returns the file that is in force, nil if the last look failed.
func (t *Set) known() os.FileInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return nil
	}
	return t.seen
}

// apply makes what a look found count. The same failure is logged once, unless
// asked is set.
func (t *Set) apply(l tokensLook, asked bool) {
	if l.err == nil && !l.unchanged {
		l.err = t.set(slices.Concat(t.fixed, l.tokens))
	}
	t.mu.Lock()
	works, same := t.failed == nil, sameFile(l.seen, t.seen) && reasonOf(l.err) == reasonOf(t.failed)
	t.seen, t.failed = l.seen, l.err
	if l.err == nil {
		t.asOf = time.Now()
	}
	t.mu.Unlock()
	if loaded := !l.unchanged || !works; l.err == nil && loaded || l.err != nil && (asked || !same) {
		t.tell(l.err)
	}
}

// hang says that a look hangs: once, unless asked is set.
func (t *Set) hang(asked bool) {
	t.mu.Lock()
	same := errors.Is(t.failed, errTokensHang)
	t.failed = errTokensHang
	t.mu.Unlock()
	if asked || !same {
		t.tell(errTokensHang)
	}
}

// tell logs what came of reading the file.
func (t *Set) tell(err error) {
	if err != nil {
		t.log.Error("tokens file not usable, the last good one stays in force", zap.String("path", t.path), zap.Error(err))
		return
	}
	t.log.Info("tokens file loaded", zap.String("path", t.path), zap.Int("tokens", len(*t.entries.Load())))
}

// sameFile reports whether a file is what it was; nil is one that is not there.
func sameFile(now, before os.FileInfo) bool {
	if now == nil || before == nil {
		return now == before
	}
	return os.SameFile(now, before) && now.ModTime().Equal(before.ModTime()) && now.Size() == before.Size()
}

// reasonOf returns why a tokens file cannot be used, in words that are not
// secret; the empty string for nil. Whatever is wrong with its content is one
// reason.
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
		return "its content is not valid"
	}
	return ""
}
