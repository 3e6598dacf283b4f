package serve

import (
	"crypto/tls"
	"fmt"
	"time"

	"go.uber.org/zap"

	"spillway/settings"
	"spillway/tokens"
)

// startReadTimeout is how long a file may take to be read at the start.
const startReadTimeout = 5 * time.Second

// errReadHangs says that a file cannot be read in that time.
var errReadHangs = fmt.Errorf("it cannot be read within %v: is it a FIFO, or on a file system that hangs?", startReadTimeout)

// inTime calls read and returns what it returns, or errReadHangs after
// startReadTimeout: a start that hangs tells nobody why. A read that hangs is left
// behind; the process ends then.
func inTime[T any](read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		value, err := read()
		ended <- result{value, err}
	}()
	select {
	case r := <-ended:
		return r.value, r.err
	case <-time.After(startReadTimeout):
		var none T
		return none, errReadHangs
	}
}

// newTokens reads the tokens, and adds those of --dev.
func newTokens(s *settings.Serve, log *zap.Logger) (*tokens.Set, error) {
	var fixed []tokens.Token
	if s.Dev {
		fixed = tokens.Dev()
	}
	if s.TokensFile == "" {
		return tokens.New(fixed...)
	}
	set, err := inTime(func() (*tokens.Set, error) { return tokens.Load(s.TokensFile, log, fixed...) })
	if err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--tokens-file: %w", err)}
	}
	return set, nil
}

// certificate is what the API shows, if it is https. There is none or one.
func certificate(s *settings.Serve) ([]tls.Certificate, error) {
	if s.TLSCert == "" {
		return nil, nil
	}
	c, err := inTime(func() (tls.Certificate, error) { return tls.LoadX509KeyPair(s.TLSCert, s.TLSKey) })
	if err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--tls-cert, --tls-key: %w", err)}
	}
	return []tls.Certificate{c}, nil
}
