package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
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
	routes []route
	cert   string // path
	plain  *daemon.Daemon
	tls    *daemon.Daemon
	proxy  []*proxy
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
		route, err := s.startProxy(ctx, folder, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		s.routes = append(s.routes, route)
	}
	return s, nil
}

// proxy is a process of nginx or HAProxy.
type proxy struct {
	command *exec.Cmd
	hold    io.Closer // its end ends the process
}

// leash runs a command until its standard input ends, which it does when this process has
// ended, however it did.
const leash = `"$@" </dev/null & p=$!; read -r _; kill "$p"; wait "$p"`

func (s *servers) startProxy(ctx context.Context, folder string, c proxyConfig) (route, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return route{}, err
	}
	home, err := os.MkdirTemp(folder, "proxy-")
	if err != nil {
		return route{}, err
	}
	account, err := user.Current()
	if err != nil {
		return route{}, err
	}
	config := filepath.Join(home, "config")
	text := strings.NewReplacer(
		"FOLDER", folder, "HOME", home, "USER", account.Username, "LISTEN", address, "SERVER", strings.TrimPrefix(s.plain.API, "http://"),
	).Replace(c.text())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return route{}, err
	}
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		return route{}, err
	}
	defer log.Close()
	// If ctx ended the leash, the proxy would go on.
	p := &proxy{command: exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", append([]string{"-c", leash, "sh"}, c.command(home, config)...)...)}
	p.command.Stdout, p.command.Stderr = log, log
	if p.hold, err = p.command.StdinPipe(); err != nil {
		return route{}, err
	}
	if err := p.command.Start(); err != nil {
		return route{}, err
	}
	s.proxy = append(s.proxy, p)
	if err := awaitListener(ctx, address); err != nil {
		said, _ := os.ReadFile(log.Name())
		return route{}, fmt.Errorf("%w\n%s", err, said)
	}
	return route{name: c.name, url: "https://" + address, odd: c.odd}, nil
}

// close ends the servers.
func (s *servers) close() (err error) {
	for _, p := range s.proxy {
		err = errors.Join(err, p.hold.Close())
		_ = p.command.Wait() // ended by a signal
	}
	for _, d := range []*daemon.Daemon{s.plain, s.tls} {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
	}
	return err
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("it does not listen: %w", err)
		}
	}
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
