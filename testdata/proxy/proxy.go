// Package proxy runs nginx and HAProxy from Debian's packages, with settings of a test or
// with those of the folder deploy.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"

	"spillway/testdata/daemon"
)

// Kind is a proxy program.
type Kind int

// The programs.
const (
	Nginx Kind = iota
	HAProxy
)

func (k Kind) String() string { return [...]string{"nginx", "HAProxy"}[k] }

// command returns the command that runs the program, or that checks its settings.
func (k Kind) command(home, config string, check bool) []string {
	switch {
	case k == Nginx && check:
		return []string{"/usr/sbin/nginx", "-p", home, "-e", "stderr", "-t", "-c", config}
	case k == Nginx:
		return []string{"/usr/sbin/nginx", "-p", home, "-e", "stderr", "-c", config}
	case check:
		return []string{"/usr/sbin/haproxy", "-c", "-dW", "-f", config}
	}
	return []string{"/usr/sbin/haproxy", "-db", "-f", config}
}

// Proxy is a running proxy.
type Proxy struct {
	Address string // that it listens on

	log     string // path
	command *exec.Cmd
	hold    io.Closer // its end ends the process
}

// leash runs a command until its standard input ends, which it does when this process has
// ended, however it did.
const leash = `"$@" </dev/null & p=$!; read -r _; kill "$p"; wait "$p"`

// Start starts a proxy and returns once it listens. settings returns its configuration, for
// the address that it is to listen on and a new folder for its files, in parent. The caller
// closes the proxy.
func Start(ctx context.Context, k Kind, parent string, settings func(address, home string) (string, error)) (_ *Proxy, err error) {
	p := new(Proxy)
	if p.Address, err = daemon.FreeAddress(ctx); err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(parent, "proxy-")
	if err != nil {
		return nil, err
	}
	text, err := settings(p.Address, home)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(home, "config")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if out, err := run(ctx, k.command(home, config, true)); err != nil {
		return nil, fmt.Errorf("%v does not accept its settings: %w\n%s", k, err, out)
	}
	p.log = filepath.Join(home, "log")
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// If ctx ended the leash, the proxy would go on.
	p.command = exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", append([]string{"-c", leash, "sh"}, k.command(home, config, false)...)...)
	p.command.Stdout, p.command.Stderr = log, log
	if p.hold, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	if err := awaitListener(ctx, p.Address); err != nil {
		said, logErr := p.Log()
		return nil, fmt.Errorf("%w\n%s", errors.Join(err, p.Close(), logErr), said)
	}
	return p, nil
}

func run(ctx context.Context, command []string) ([]byte, error) {
	return exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
}

// Log returns what the proxy has printed.
func (p *Proxy) Log() (string, error) {
	text, err := os.ReadFile(p.log)
	return string(text), err
}

// Close ends the proxy.
func (p *Proxy) Close() error {
	err := p.hold.Close()
	_ = p.command.Wait() // ended by a signal
	return err
}

// account returns the name of this process's user.
func account() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

func awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
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
