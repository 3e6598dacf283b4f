// Package s3server runs a real S3 server for tests: versitygw over a temporary
// folder, on a free port of the loopback interface.
package s3server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Binary is the environment variable that says where versitygw is; without it,
// it is looked for in PATH.
const Binary = "SPILLWAY_VERSITYGW"

const (
	// AccessKey and SecretKey are the credentials of every server here.
	AccessKey = "test"
	SecretKey = "testsecret"

	// Region is the one that every server here is in.
	Region = "us-east-1"

	startTimeout = 20 * time.Second
)

// keeper runs the server given by its arguments, over the folder that comes
// first, until its standard input ends, which it does with this process,
// however that dies. Then it removes the folder.
const keeper = `folder=$1; shift
"$@" "$folder" </dev/null & server=$!
read -r _
kill $server; wait $server
rm -rf "$folder"`

// Server is a running S3 server, path style.
type Server struct {
	Client

	command *exec.Cmd
	hold    io.Closer     // the keeper's standard input
	output  *bytes.Buffer // of the server, complete once command has ended
}

// Start starts a server that ends with the test. The test fails if there is
// none to start.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := New(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// New starts a server and returns when it answers, or when ctx ends. The caller
// closes it.
func New(ctx context.Context) (*Server, error) { return newIn(ctx, "") }

// newIn is New with the server's files in a folder; empty: the system's for
// temporary ones.
func newIn(ctx context.Context, folder string) (*Server, error) {
	binary, err := find()
	if err != nil {
		return nil, err
	}
	var errs []error
	for range 3 { // the port may be taken by somebody else before the server listens
		s, err := start(ctx, binary, folder)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// NewInMemory is New with the server's files in memory, where there is such a file
// system.
func NewInMemory(ctx context.Context) (*Server, error) {
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		return New(ctx)
	}
	return newIn(ctx, memory)
}

func find() (string, error) {
	name := os.Getenv(Binary)
	if name == "" {
		name = "versitygw"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("these tests need the S3 server versitygw, which `make test` installs (or set %s to its path): %w", Binary, err)
	}
	return path, nil
}

func start(ctx context.Context, binary, parent string) (*Server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(parent, "spillway-s3server-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Client: NewClient("http://"+address, AccessKey, SecretKey),
		output: new(bytes.Buffer),
	}
	s.command = exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", keeper, "sh",
		folder, binary, "--port", address, "--quiet", "--keep-alive", "posix")
	s.command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	s.command.Stdout, s.command.Stderr = s.output, s.output
	hold, err := s.command.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	s.hold = hold
	if err := s.command.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := s.awaitAnswer(ctx); err != nil {
		err = errors.Join(err, s.Close())
		return nil, fmt.Errorf("%w\n%s", err, s.output)
	}
	return s, nil
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awaitAnswer waits for the first answer of any status.
func (s *Server) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
		if err != nil {
			return err
		}
		resp, err := s.http.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("versitygw does not answer: %w", err)
		}
	}
}

// Close ends the server and removes what it stored.
func (s *Server) Close() error {
	s.http.CloseIdleConnections()
	err := s.hold.Close()
	if waitErr := s.command.Wait(); waitErr != nil {
		if _, exited := errors.AsType[*exec.ExitError](waitErr); !exited {
			err = errors.Join(err, waitErr)
		}
	}
	return err
}
