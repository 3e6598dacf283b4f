package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// askTimeout bounds Ask. Supervisors give a health check 5 s and more.
	askTimeout = 3 * time.Second

	// maxAnswer is how much of an answer an error of Ask quotes, in bytes.
	maxAnswer = 200
)

// Ask asks the instance whose API listens at an address of this machine what it tells load
// balancers. The error is nil if the instance should get uploads, and otherwise says why not.
func Ask(ctx context.Context, listen string, https bool) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		// An unspecified address such as 0.0.0.0 means this machine here, too.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listen)
		},
		// The certificate names the public host, not this one. Nothing secret is sent.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	scheme := "http"
	if https {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/__lbheartbeat__", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("no answer at %s: %w", listen, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("answer at %s: %w", listen, err)
	}
	return fmt.Errorf("%s answers %s: %s", listen, resp.Status, bytes.TrimSpace(body))
}
