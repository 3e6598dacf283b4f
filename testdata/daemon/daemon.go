// Package daemon builds Spillway and runs it as a process of its own, for what
// only shows from outside.
package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const startTimeout = 30 * time.Second

// watchdog kills a process when its own standard input ends, which it does when
// the process that started both has died, however that came.
const watchdog = `read -r _; kill -9 "$1"`

// Build builds the program from the module that the working folder is in, and
// returns its path in folder. The arguments go to go build.
func Build(ctx context.Context, folder string, args ...string) (string, error) {
	binary := filepath.Join(folder, "spillway")
	args = append(append([]string{"build"}, args...), "-o", binary, "spillway")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return binary, lookAtSources(ctx)
}

// sources lists the folders and the embedded files of the program.
const sources = `{{with .Module}}{{if .Main}}{{$.Dir}}{{range $.EmbedFiles}}
{{$.Dir}}/{{.}}{{end}}{{end}}{{end}}`

// lookAtSources reads what the program is built from. The go command caches the
// result of a test until a file or folder changes that the test has read, and it does
// not see what go build reads.
func lookAtSources(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-deps", "-f", sources, "spillway").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	for name := range strings.Lines(string(out)) {
		info, err := os.Stat(strings.TrimSpace(name))
		if err == nil && info.IsDir() {
			_, err = os.ReadDir(strings.TrimSpace(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Daemon is a process that takes uploads.
type Daemon struct {
	API   string // base URL of the API
	Admin string // base URL of the admin listener
	S3    string // base URL of the S3 server in the process; empty if there is none

	command *exec.Cmd
	guard   *exec.Cmd
	hold    io.Closer // the guard's standard input
	stdout  output
	stderr  output
	log     *os.File      // the end of the standard error's pipe that is read
	paused  gate          // shut while nobody is to read it
	ended   chan struct{} // closed once the process has ended and its output is read
}

// Start runs the program with these arguments, which have it log JSON, and
// returns when it listens. Its admin listener is on a free port. The environment is this process's with env added. The
// process is killed when ctx ends; the caller closes it.
func Start(ctx context.Context, binary string, env []string, args ...string) (*Daemon, error) {
	d := &Daemon{ended: make(chan struct{})}
	d.command = exec.CommandContext(ctx, binary, append([]string{"--admin-listen=127.0.0.1:0"}, args...)...)
	d.command.Env = append(os.Environ(), env...)
	log, stderr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	d.log = log
	d.command.Stdout, d.command.Stderr = &d.stdout, stderr
	err = d.command.Start()
	if closeErr := stderr.Close(); err == nil {
		err = closeErr // only the process has it open now, so that its end shows
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := d.startGuard(ctx); err != nil {
		return nil, errors.Join(err, d.command.Process.Kill(), d.command.Wait(), log.Close())
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		d.readLog()
	}()
	go func() {
		// How the process ended is in its state; its output needs no copying error.
		_ = d.command.Wait()
		d.ResumeReading() // what is left
		<-read
		close(d.ended)
	}()

	if err := d.awaitAddresses(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// readLog keeps what the process writes to its standard error.
func (d *Daemon) readLog() {
	defer d.log.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := d.log.Read(buf)
		if err != nil {
			return
		}
		_, _ = d.stderr.Write(buf[:n]) // into memory
		d.paused.pass()
	}
}

// StopReading has nobody read the process's standard error, after what is being
// read. So its pipe fills. It is read again after ResumeReading, and when the
// process has ended.
func (d *Daemon) StopReading() { d.paused.set(true) }

// ResumeReading ends what StopReading began.
func (d *Daemon) ResumeReading() { d.paused.set(false) }

// CloseLog has the reader of the process's standard error die.
func (d *Daemon) CloseLog() error { return d.log.Close() }

// awaitAddresses waits for the event that says where the process listens.
func (d *Daemon) awaitAddresses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	line, err := d.AwaitLog(ctx, `"msg":"listening"`)
	if err != nil {
		return err
	}
	var event struct{ API, Admin, S3 string }
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		return err
	}
	d.API, d.Admin = "http://"+event.API, "http://"+event.Admin
	if event.S3 != "" {
		d.S3 = "http://" + event.S3
	}
	return nil
}

func (d *Daemon) startGuard(ctx context.Context) error {
	d.guard = exec.CommandContext(ctx, "/bin/sh", "-c", watchdog, "sh", strconv.Itoa(d.PID()))
	hold, err := d.guard.StdinPipe()
	if err != nil {
		return err
	}
	d.hold = hold
	return d.guard.Start()
}

// PID is the process's number.
func (d *Daemon) PID() int { return d.command.Process.Pid }

// Signal sends a signal.
func (d *Daemon) Signal(s os.Signal) error { return d.command.Process.Signal(s) }

// Wait waits until the process has ended and returns its exit status, -1 if a
// signal ended it.
func (d *Daemon) Wait(ctx context.Context) (int, error) {
	select {
	case <-d.ended:
		return d.command.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Ended reports whether the process has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Log is what the process has written to its standard error.
func (d *Daemon) Log() string {
	text, _ := d.stderr.snapshot()
	return text
}

// Close kills the process if it still runs.
func (d *Daemon) Close() error {
	// The guard goes first, so that it never kills a number that has a new owner.
	err := errors.Join(ignoreDone(d.guard.Process.Kill()), ignoreExit(d.guard.Wait()), ignoreClosed(d.hold.Close()))
	if !d.Ended() {
		err = errors.Join(err, ignoreDone(d.command.Process.Kill()))
		<-d.ended
	}
	return err
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func ignoreExit(err error) error {
	if _, exited := errors.AsType[*exec.ExitError](err); exited || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// AwaitLog returns the first line of the log that contains all of these words,
// once it is there.
func (d *Daemon) AwaitLog(ctx context.Context, words ...string) (string, error) {
	return d.await(ctx, &d.stderr, words)
}

// AwaitStdout is AwaitLog for what goes to standard output.
func (d *Daemon) AwaitStdout(ctx context.Context, words ...string) (string, error) {
	return d.await(ctx, &d.stdout, words)
}

func (d *Daemon) await(ctx context.Context, out *output, words []string) (string, error) {
	for {
		text, more := out.snapshot()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && containsAll(line, words) {
				return line, nil
			}
		}
		select {
		case <-more:
		case <-d.ended:
			if _, now := out.snapshot(); now == more {
				return "", fmt.Errorf("the process ended and wrote no line with %q:\n%s", words, text)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%w: no line is written with %q:\n%s", context.Cause(ctx), words, text)
		}
	}
}

func containsAll(s string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(s, w) })
}

// gate stops whoever passes while it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil while it is open
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// output keeps what is written to it.
type output struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{} // closed and replaced when all grows
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.all.Write(p)
}

// snapshot returns what has been written, and a channel that is closed when
// there is more.
func (o *output) snapshot() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.all.String(), o.more
}
