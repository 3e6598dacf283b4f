package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/proxy"
)

// route is a way from the clients to Spillway.
type route struct {
	name string
	url  string
	odd  bool // a proxy with settings that nobody should have: it is a table of its own
}

// servers are Spillway, with and without TLS, and the proxies before the latter. Proxies
// speak TLS with the clients.
type servers struct {
	routes  []route
	cert    string // path
	plain   *daemon.Daemon
	tls     *daemon.Daemon
	proxies []*proxy.Proxy
}

// start starts the servers. The caller closes them.
func start(ctx context.Context, folder string) (_ *servers, err error) {
	s := new(servers)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	cert, key, err := client.WriteSelfSigned(folder)
	if err != nil {
		return nil, err
	}
	s.cert = cert
	binary, err := daemon.Build(ctx, folder)
	if err != nil {
		return nil, err
	}
	tokens := filepath.Join(folder, "tokens.json")
	entry := fmt.Sprintf(`{"tokens": [{"sha256": "%x", "email": "a@example.com", "expires_at": "2100-01-01T00:00:00Z", "permissions": ["upload_symbols"]}]}`, sha256.Sum256([]byte(token)))
	if err := os.WriteFile(tokens, []byte(entry), 0o600); err != nil {
		return nil, err
	}
	args := []string{
		"--log-format=json", "--listen=127.0.0.1:0", "--spill-dir=" + folder,
		fmt.Sprintf("--max-upload-size=%dMiB", maxUpload),
	}
	if s.plain, err = daemon.Start(ctx, binary, nil, append(args, "--dev", "--dev-s3-listen=127.0.0.1:0")...); err != nil {
		return nil, err
	}
	// With --dev there is no TLS.
	if s.tls, err = daemon.Start(ctx, binary, []string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x"}, append(args,
		"--s3-endpoint="+s.plain.S3, "--s3-bucket=symbols", "--s3-region=us-east-1", "--s3-path-style",
		"--tokens-file="+tokens, "--tls-cert="+cert, "--tls-key="+key)...); err != nil {
		return nil, err
	}
	s.routes = []route{{name: "HTTP", url: s.plain.API}, {name: "TLS", url: strings.Replace(s.tls.API, "http:", "https:", 1)}}
	// HAProxy reads the certificate and its key from one file.
	if err := concatenate(filepath.Join(folder, "both.pem"), cert, key); err != nil {
		return nil, err
	}
	for _, p := range proxies {
		started, err := proxy.Start(ctx, p.kind, folder, p.config(folder, strings.TrimPrefix(s.plain.API, "http://")))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		s.proxies = append(s.proxies, started)
		s.routes = append(s.routes, route{name: p.name, url: "https://" + started.Address, odd: p.odd})
	}
	return s, nil
}

// close ends the servers.
func (s *servers) close() (err error) {
	for _, p := range s.proxies {
		err = errors.Join(err, p.Close())
	}
	for _, d := range []*daemon.Daemon{s.plain, s.tls} {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
	}
	return err
}

func concatenate(path string, from ...string) error {
	var all []byte
	for _, f := range from {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	return os.WriteFile(path, all, 0o600)
}
