package upload

import (
	"fmt"
	"sync"
)

// A tokenLimitError says that a token has reached one of its limits.
type tokenLimitError struct {
	uploads int   // the limit, or 0 if it is bytes that is exceeded
	bytes   int64 // the limit
}

func (e *tokenLimitError) Error() string {
	return "upload: with one token, " + e.describe() + " are under way already"
}

// describe names the limit.
func (e *tokenLimitError) describe() string {
	if e.uploads > 0 {
		return fmt.Sprintf("the %d uploads that --max-token-uploads allows", e.uploads)
	}
	return fmt.Sprintf("the %s of archives that --max-token-bytes allows", size(e.bytes))
}

// claims counts what is under way with each token: uploads, and the bytes of their requests.
// Uploads that wait for their turn count.
type claims struct {
	uploads int   // limit for one token; 0: none
	bytes   int64 // likewise

	mu      sync.Mutex
	byToken map[string]*tokenUse // by the token's SHA-256; only tokens with uploads under way
}

// tokenUse is what is under way with one token.
type tokenUse struct {
	uploads int
	bytes   int64
}

// claim is what one upload adds to its token's use.
type claim struct {
	of    *claims
	token string
	bytes int64
}

// begin counts an upload of a token, and its bytes if they are known, until the claim ends.
// The error is a [*tokenLimitError].
func (c *claims) begin(token string, bytes int64) (*claim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.byToken[token]
	if now == nil {
		now = &tokenUse{}
	}
	if c.uploads > 0 && now.uploads >= c.uploads {
		return nil, &tokenLimitError{uploads: c.uploads}
	}
	if err := c.checkBytes(now, bytes); err != nil {
		return nil, err
	}
	now.uploads++
	now.bytes += bytes
	c.byToken[token] = now
	return &claim{c, token, bytes}, nil
}

// checkBytes checks the limit on bytes for another n bytes. The caller holds c.mu.
func (c *claims) checkBytes(now *tokenUse, n int64) error {
	if c.bytes > 0 && now.bytes+n > c.bytes {
		return &tokenLimitError{bytes: c.bytes}
	}
	return nil
}

// grow raises the claim to that many bytes, if it has fewer. The error is a
// [*tokenLimitError].
func (l *claim) grow(bytes int64) error {
	if bytes <= l.bytes {
		return nil
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	now := l.of.byToken[l.token]
	if err := l.of.checkBytes(now, bytes-l.bytes); err != nil {
		return err
	}
	now.bytes += bytes - l.bytes
	l.bytes = bytes
	return nil
}

// end ends the claim. It is called once, by the goroutine that calls grow.
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
