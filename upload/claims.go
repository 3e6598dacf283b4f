package upload

import (
	"fmt"
	"sync"
)

// A tokenLimitError says that one token has as much under way as it may.
type tokenLimitError struct {
	uploads int   // that are allowed, or
	bytes   int64 // that are allowed
}

func (e *tokenLimitError) Error() string {
	return "upload: with one token, " + e.words() + " are under way already"
}

// words name the limit.
func (e *tokenLimitError) words() string {
	if e.uploads > 0 {
		return fmt.Sprintf("the %d uploads that --max-token-uploads allows", e.uploads)
	}
	return fmt.Sprintf("the %s of archives that --max-token-bytes allows", size(e.bytes))
}

// claims is what is under way with each token: uploads, and the bytes of their
// requests. Those that wait for their turn count.
type claims struct {
	uploads int   // most with one token; 0: no limit
	bytes   int64 // likewise

	mu      sync.Mutex
	byToken map[string]*claimed // by its digest; gone when nothing is under way
}

type claimed struct {
	uploads int
	bytes   int64
}

// claim is one upload's part of what is under way with its token.
type claim struct {
	of    *claims
	token string
	bytes int64
}

// begin takes an upload of a token, of that many bytes as far as is known, into
// account until the claim ends. The error is a [*tokenLimitError].
func (c *claims) begin(token string, bytes int64) (*claim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.byToken[token]
	if now == nil {
		now = &claimed{}
	}
	if c.uploads > 0 && now.uploads >= c.uploads {
		return nil, &tokenLimitError{uploads: c.uploads}
	}
	if err := c.room(now, bytes); err != nil {
		return nil, err
	}
	now.uploads++
	now.bytes += bytes
	c.byToken[token] = now
	return &claim{c, token, bytes}, nil
}

func (c *claims) room(now *claimed, bytes int64) error {
	if c.bytes > 0 && now.bytes+bytes > c.bytes {
		return &tokenLimitError{bytes: c.bytes}
	}
	return nil
}

// reach says that so many bytes have come, which may be more than was known.
func (l *claim) reach(bytes int64) error {
	if bytes <= l.bytes {
		return nil
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	now := l.of.byToken[l.token]
	if err := l.of.room(now, bytes-l.bytes); err != nil {
		return err
	}
	now.bytes += bytes - l.bytes
	l.bytes = bytes
	return nil
}

// end is called once, by the goroutine that called reach.
func (l *claim) end() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	now := l.of.byToken[l.token]
	now.uploads--
	now.bytes -= l.bytes
	if now.uploads == 0 {
		delete(l.of.byToken, l.token)
	}
}
