package serve

import (
	"crypto/tls"
	"fmt"
	"time"

	"go.uber.org/zap"

	"spillway/settings"
	"spillway/tokens"
)

const (
	// readTimeout bounds the read of a file at the start.
	readTimeout = 5 * time.Second

	// openTimeout bounds the opening of the spill folder at the start.
	openTimeout = 10 * time.Second
)

// errReadHangs reports a file that could not be read within readTimeout.
var errReadHangs = fmt.Errorf("it cannot be read within %v: is it a FIFO, or on a file system that hangs?", readTimeout)

// inTime calls f and returns its result, or hangs if f takes longer than timeout. It
// leaves such a call behind, because the process then exits with the error.
func inTime[T any](timeout time.Duration, hangs error, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		value, err := f()
		ended <- result{value, err}
	}()
	select {
	case r := <-ended:
		return r.value, r.err
	case <-time.After(timeout):
		return *new(T), hangs
	}
}

// newTokens reads the tokens file and adds the tokens of --dev. asked is called for each
// request to --tokens-upstream.
func newTokens(s *settings.Serve, log *zap.Logger, asked func(tokens.Result, time.Duration)) (*tokens.Set, error) {
	set, err := readTokens(s, log)
	if err == nil && s.TokensUpstream != "" {
		set.AskUpstream(newUpstream(s, log, asked))
	}
	return set, err
}

// newUpstream returns the server of --tokens-upstream, which must be set.
func newUpstream(s *settings.Serve, log *zap.Logger, asked func(tokens.Result, time.Duration)) *tokens.Upstream {
	return tokens.NewUpstream(tokens.UpstreamConfig{URL: s.TokensUpstream, UserAgent: "spillway/" + Version().Version, Log: log, Asked: asked})
}

func readTokens(s *settings.Serve, log *zap.Logger) (*tokens.Set, error) {
	var fixed []tokens.Token
	if s.Dev {
		fixed = tokens.Dev()
	}
	if s.TokensFile == "" {
		return tokens.New(fixed...)
	}
	set, err := inTime(readTimeout, errReadHangs, func() (*tokens.Set, error) { return tokens.Load(s.TokensFile, log, fixed...) })
	if err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--tokens-file: %w", err)}
	}
	return set, nil
}

// certificate reads the certificate of the API. It returns none for plain http.
func certificate(s *settings.Serve) ([]tls.Certificate, error) {
	if s.TLSCert == "" {
		return nil, nil
	}
	c, err := inTime(readTimeout, errReadHangs, func() (tls.Certificate, error) { return tls.LoadX509KeyPair(s.TLSCert, s.TLSKey) })
	if err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--tls-cert, --tls-key: %w", err)}
	}
	return []tls.Certificate{c}, nil
}
