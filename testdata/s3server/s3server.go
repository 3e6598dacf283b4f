// Package s3server runs real S3 servers for tests, each over a temporary folder and on
// free ports of the loopback interface.
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
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// AccessKey and SecretKey are the credentials of every server here.
	AccessKey = "test"
	SecretKey = "testsecret"

	// Region is the one that every server here is in.
	Region = "us-east-1"

	// startTimeout is what the slowest server needs on a busy machine: a Ceph cluster.
	startTimeout = time.Minute
)

// keeper runs the script that comes second, with the arguments after it, until its
// standard input ends. It does so with this process, however that dies. Then the keeper
// ends the script and removes the folder that comes first.
const keeper = `folder=$1; shift
/bin/sh -c "$@" </dev/null & server=$!
read -r _
kill $server; wait $server
rm -rf "$folder"`

// Server is a running S3 server, path style.
type Server struct {
	Client
	Kind Kind

	ports   []string // the first is that of S3
	command *exec.Cmd
	hold    io.Closer     // the keeper's standard input
	output  *bytes.Buffer // of the server, complete once command has ended
}

// Start starts versitygw, which ends with the test. The test fails if it does not start.
func Start(t testing.TB) *Server {
	t.Helper()
	return Versitygw.Start(t)
}

// New starts versitygw and returns when it can store objects, or when ctx ends. The
// caller closes it.
func New(ctx context.Context) (*Server, error) { return Versitygw.New(ctx) }

// NewInMemory is New with the server's files in memory, where there is such a file
// system.
func NewInMemory(ctx context.Context) (*Server, error) {
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		return New(ctx)
	}
	return Versitygw.newIn(ctx, memory)
}

// Start starts a server of this kind, which ends with the test. The test fails if it
// does not start.
func (k Kind) Start(t testing.TB) *Server {
	t.Helper()
	s, err := k.New(context.WithoutCancel(t.Context()))
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

// New starts a server of this kind and returns when it can store objects, or when ctx
// ends. The caller closes it.
func (k Kind) New(ctx context.Context) (*Server, error) { return k.newIn(ctx, "") }

// newIn is New with the server's files in a folder; empty: the system's for temporary
// ones.
func (k Kind) newIn(ctx context.Context, folder string) (*Server, error) {
	program, err := k.find()
	if err != nil {
		return nil, err
	}
	var errs []error
	for range 3 { // another process may take a port before the server listens
		s, err := k.start(ctx, program, folder)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (k Kind) start(ctx context.Context, program, parent string) (*Server, error) {
	ports, err := freePorts(ctx, k.ports)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(parent, "spillway-s3server-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Client: NewClient("http://127.0.0.1:"+ports[0], AccessKey, SecretKey),
		Kind:   k,
		ports:  ports,
		output: new(bytes.Buffer),
	}
	s.NoETag = k.noETag
	s.command = exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", append([]string{"-c", keeper, "sh", folder, k.script, "sh", program, folder}, ports...)...)
	s.command.Env = append(os.Environ(), "ACCESS_KEY="+AccessKey, "SECRET_KEY="+SecretKey)
	s.command.Stdout, s.command.Stderr = s.output, s.output
	hold, err := s.command.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	s.hold = hold
	if err := s.command.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := s.awaitReady(ctx); err != nil {
		err = errors.Join(err, s.Close())
		return nil, fmt.Errorf("%w\n%s", err, s.output)
	}
	return s, nil
}

// freePorts returns n ports that nobody listens on.
func freePorts(ctx context.Context, n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// awaitReady waits until the server stores an object.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := s.tryOut(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", s.Kind.Name, err)
		}
	}
}

// tryOut stores an object in a bucket of its own.
func (s *Server) tryOut(ctx context.Context) error {
	// The SDK's pauses between attempts are longer than most servers need to start.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	bucket, err := s.MakeBucket(ctx)
	if err != nil {
		return err
	}
	return s.Store(ctx, bucket, "ready", strings.NewReader("ready"))
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
