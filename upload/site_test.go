package upload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"spillway/fetch"
	"spillway/health"
	"spillway/internal/answer"
	"spillway/observe"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/tokens"
)

const boundary = "------------------------7a1d"

// formPart is a part of a form. If it has a filename, it is a file.
type formPart struct {
	name, filename string
	content        []byte
}

// encode encodes a form as curl does.
func encode(parts ...formPart) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q", boundary, p.name)
		if p.filename != "" {
			fmt.Fprintf(&b, "; filename=%q\r\nContent-Type: application/octet-stream", p.filename)
		}
		fmt.Fprintf(&b, "\r\n\r\n%s\r\n", p.content)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

// symbolZip is an archive with a symbol file, another file, and an ignored file.
var symbolZip = archive.PythonZipfile(
	archive.File{Name: "app.pdb/ABC1/app.sym", Data: archive.Symbols(1, 30_000)},
	archive.File{Name: "app.pdb/ABC1/app.ex_", Data: archive.Noise(1, 5_000)},
	archive.File{Name: "build-symbols.txt", Data: []byte("app.sym\n")},
)

// symbolKeys are the keys of symbolZip, without a prefix.
var symbolKeys = []string{"app.pdb/ABC1/app.ex_", "app.pdb/ABC1/app.sym"}

func symbolForm() []byte { return encode(formPart{"symbols.zip", "symbols.zip", symbolZip}) }

// site is an API with a store in memory.
type site struct {
	t      testing.TB
	api    *API
	budget *budget.Budget
	store  *memoryStore
	logs   *observer.ObservedLogs

	arrivals arrivals // in a bubble

	remote http.RoundTripper // that archives are fetched from; nil: it has none
}

// RoundTrip implements [http.RoundTripper].
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.remote == nil {
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
	}
	return s.remote.RoundTrip(r)
}

// newSite returns a site that takes two uploads at once. At the end of the test, it checks
// that all batches have ended and that the budget is whole.
func newSite(t testing.TB, change ...func(*Config)) *site {
	t.Helper()
	room := budgettest.New(t, func(c *budget.Config) { c.Uploads, c.Wait = 2, time.Second })
	tokens, err := tokens.New(tokens.Dev()...)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	s := &site{t: t, budget: room, store: newMemoryStore(t), logs: logs}
	cfg := Config{
		Budget: room, Store: s.store, Tokens: tokens, Log: zap.New(core),
		Fetch:         fetch.New(fetch.Config{Domains: []string{"files.example.com"}, Idle: 10 * time.Second, Transport: s}),
		MaxUploadSize: 1 << 20, MaxEntries: 100, MaxExpanded: 64 << 20,
		IdleTimeout: 10 * time.Second, UploadTimeout: time.Minute, OnArrival: onArrival,
	}
	for _, c := range change {
		c(&cfg)
	}
	if cfg.Uploads == nil {
		cfg.Uploads = observe.NewUploads(observe.UploadsConfig{
			Log: cfg.Log, Metrics: observe.NewMetrics(health.Version{}), Outcomes: health.NewOutcomes(health.OutcomeConfig{}),
		})
	}
	cfg.Panicked = observe.OnPanic(cfg.Log, nil)
	s.api = New(cfg)
	return s
}

// idle checks that nothing is under way and that the budget is free.
func (s *site) idle() {
	s.t.Helper()
	s.store.check()
	if u := s.budget.Usage(); u != (budget.Usage{Total: u.Total}) {
		s.t.Errorf("the budget afterwards: %+v", u)
	}
	if len(s.api.drains) != 0 {
		s.t.Errorf("%d bodies are still being drained", len(s.api.drains))
	}
}

// serve runs the site on a real connection until the test ends, and returns its address.
// It checks that no goroutine is left then.
func (s *site) serve() (address string) {
	s.t.Helper()
	server := httptest.NewUnstartedServer(LimitHeader(s.api))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Listener = watchArrivals(server.Config, server.Listener)
	server.Start()
	s.t.Cleanup(func() {
		server.Close() // does not wait for hijacked connections
		http.DefaultClient.CloseIdleConnections()
		for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
			left := goroutines()
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				s.t.Errorf("goroutines left:\n%s", strings.Join(left, "\n\n"))
				break
			}
		}
		s.idle()
	})
	return server.Listener.Addr().String()
}

// goroutines returns the stacks of the goroutines that receive uploads, without the test's
// own.
func goroutines() (stacks []string) {
	all := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		ours := strings.Contains(stack, "spillway/upload.(*") || strings.Contains(stack, "spillway/stream.")
		if ours && !strings.Contains(stack, "testing.tRunner") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// event returns the one log event of an upload.
func (s *site) event() map[string]any {
	s.t.Helper()
	events := s.logs.FilterMessage("upload").All()
	if len(events) != 1 {
		s.t.Fatalf("%d log events, want 1: %v", len(events), events)
	}
	return events[0].ContextMap()
}

// request returns the header of an upload with a body of n bytes, or a chunked one if n <
// 0.
func request(n int, lines ...string) string {
	h := "POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=" + boundary + "\r\n"
	if n < 0 {
		h += "Transfer-Encoding: chunked\r\n"
	} else {
		h += fmt.Sprintf("Content-Length: %d\r\n", n)
	}
	for _, l := range lines {
		h += l + "\r\n"
	}
	return h + "\r\n"
}

const asDev = "Auth-Token: dev"

// reply is an answer whose body has been read.
type reply struct {
	*http.Response
	body []byte
}

// message returns the error message in the answer.
func (r *reply) message() string {
	var f answer.Failure
	if err := json.Unmarshal(r.body, &f); err != nil {
		return fmt.Sprintf("not JSON: %q", r.body)
	}
	if f.Detail == "" || f.UploadID == nil && r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusMethodNotAllowed && r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		return fmt.Sprintf("without a detail, or its upload: %q", r.body)
	}
	return f.Error
}

// readReply reads an answer and checks what all answers have in common.
func readReply(t testing.TB, from *bufio.Reader) *reply {
	t.Helper()
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	if err != nil {
		t.Fatalf("the answer breaks off: %v", err)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "application/json" || !json.Valid(body) {
		t.Errorf("the answer is not JSON: %s %q", kind, body)
	}
	retryable := response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusTooManyRequests
	if (response.Header.Get("Retry-After") != "") != retryable {
		t.Errorf("status %d with Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
	return &reply{response, body}
}

// client is a client that writes to its connection and reads from it directly.
type client struct {
	net.Conn
	t    testing.TB
	from *bufio.Reader
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return newClient(t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	c := &client{Conn: conn, t: t, from: bufio.NewReader(conn)}
	c.patience(10 * time.Minute)
	return c
}

// patience limits the client's part in a test.
func (c *client) patience(d time.Duration) {
	c.t.Helper()
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
}

// leave closes the client's end.
func (c *client) leave() {
	c.t.Helper()
	if err := c.Close(); err != nil {
		c.t.Error(err)
	}
}

func (c *client) send(data ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(data, "")); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

func (c *client) reply() *reply {
	c.t.Helper()
	return readReply(c.t, c.from)
}

// closed waits until the server has closed the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.from.ReadByte(); err == nil {
		c.t.Errorf("the server goes on with %q, want the connection closed", b)
	}
}

// upload posts a body in one go.
func (s *site) upload(address string, body []byte, lines ...string) *reply {
	s.t.Helper()
	c := dial(s.t, address)
	c.send(request(len(body), append(lines, "Connection: close")...), string(body))
	return c.reply()
}

// pipes is a listener whose connections are pipes, which work in fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// serveInBubble runs the site within a synctest bubble, which ends only after all its
// goroutines.
func (s *site) serveInBubble() (connect func() *client, stop func()) {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: LimitHeader(s.api), ErrorLog: log.New(io.Discard, "", 0)}
	s.arrivals = watchArrivals(server, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(s.arrivals)
	}()
	connect = func() *client {
		here, there := net.Pipe()
		p.conns <- there
		return newClient(s.t, here)
	}
	return connect, func() {
		_ = server.Close() // Serve returned the same error
		<-served
	}
}
