package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
)

// wantCheck checks the status of the heartbeat, and the state and the message of one of its
// checks.
func wantCheck(t *testing.T, api, check, state string, status int, words ...string) {
	t.Helper()
	h := client.GetHeartbeat(t, api)
	message := h.Message(check)
	if h.Status != status || h.Checks[check] != state {
		t.Errorf("the heartbeat is %d and %s %q (%s), want %d and %q", h.Status, check, h.Checks[check], message, status, state)
	}
	for _, word := range words {
		if !strings.Contains(message, word) {
			t.Errorf("the message of %s is %q, want %q in it", check, message, word)
		}
	}
}

// floodLog makes the program log more than the pipe and its own queue hold, with refused
// uploads.
func floodLog(t *testing.T, s system) {
	t.Helper()
	label := strings.Repeat("x", 100)
	name := strings.Repeat("a", 4000) + ".zip"
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 60 {
				req, err := http.NewRequestWithContext(client.Within(t), http.MethodPost, s.API+"/upload/",
					strings.NewReader("--b\r\nContent-Disposition: form-data; name=\""+name+"\"; filename=\""+name+"\"\r\n\r\nnot a zip\r\n--b--\r\n"))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
				req.Header.Set("Auth-Token", "dev-"+label)
				if a, err := client.RoundTrip(req); err != nil || a.Status != http.StatusBadRequest {
					t.Errorf("%+v, error %v", a, err)
					return
				}
			}
		})
	}
	senders.Wait()
}

// endTime is enough for a process that waits for nothing to exit, also on a busy machine.
const endTime = 15 * time.Second

// wantEndInTime sends SIGTERM to a process that waits for nothing, and checks that it exits.
func wantEndInTime(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	began := time.Now()
	if err := d.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantExit(t, d, statusDone)
	if took := time.Since(began); took > endTime {
		t.Errorf("it took %v to end", took)
	}
}

// When nobody reads the log's pipe, uploads are still answered and stored, the heartbeat
// warns, the balancer's heartbeat stays 200, and SIGTERM ends the process in time.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	s := startBeside(t)
	s.StopReading()
	floodLog(t, s)
	files := archive.Samples(1)
	for range 3 {
		if a := client.MustSend(t, s.API, "dev", archive.GoWriter(files...)); a.Status != http.StatusCreated {
			t.Errorf("%+v", a)
		}
	}
	s.WantStored(t, "v1/", files)
	wantCheck(t, s.API, "log", "warning", http.StatusOK, "lines were dropped since the start")
	if got := client.Get(t, s.API+"/__lbheartbeat__").Status; got != http.StatusOK {
		t.Errorf("the balancer is told %d", got)
	}
	values, err := s.Metrics(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if values["spillway_log_dropped_lines_total"] == 0 {
		t.Error("no dropped line is counted")
	}
	wantEndInTime(t, s.Daemon)
}

// When a reader that hung reads again, the log says how many lines are missing.
func TestLogThatIsReadAgain(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	s.StopReading()
	floodLog(t, s)
	s.ResumeReading()
	line, err := s.AwaitLog(client.Within(t), `"msg":"log lines were dropped`)
	if err != nil {
		t.Fatal(err)
	}
	var event struct{ Lines float64 }
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		t.Fatal(err)
	}
	values, err := s.Metrics(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if dropped := values["spillway_log_dropped_lines_total"]; dropped == 0 || dropped != event.Lines {
		t.Errorf("the log says that %v lines were dropped, the metric %v", event.Lines, dropped)
	}
}

// A process whose log has a dead reader lives on, and exits as usual on SIGTERM.
func TestLogWhoseReaderDies(t *testing.T) {
	t.Parallel()
	s := startBeside(t)
	if err := s.CloseLog(); err != nil {
		t.Fatal(err)
	}
	files := archive.Samples(1)
	for range 3 {
		if a := client.MustSend(t, s.API, "dev", archive.GoWriter(files...)); a.Status != http.StatusCreated {
			t.Errorf("%+v", a)
		}
	}
	s.WantStored(t, "v1/", files)
	wantCheck(t, s.API, "log", "warning", http.StatusOK, "broken pipe", "restart this instance")
	wantEndInTime(t, s.Daemon)
}

// The exit status does not depend on whether somebody reads the log.
func TestExitStatusWithoutAReader(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(*testing.T, system){
		"hangs": func(t *testing.T, s system) { s.StopReading(); floodLog(t, s) },
		"dies": func(t *testing.T, s system) {
			if err := s.CloseLog(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := startEmbedded(t, "--drain-delay=1h")
			lose(t, s)
			sendSignal(t, s, syscall.SIGTERM)
			client.AwaitStatus(t, s.API+"/__lbheartbeat__", http.StatusServiceUnavailable)
			sendSignal(t, s, syscall.SIGTERM)
			wantExit(t, s.Daemon, statusCutShort)
		})
	}
}

// Log lines of the AWS SDK and of net/http go through our log, so they never block on its
// reader.
func TestLibrariesWriteToOurLog(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer listener.Close()
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nDate: yesterday\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 unasked\r\n\r\n")
				}
			})
		}
	})
	d := start(t, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, "--dev", "--s3-endpoint=http://"+listener.Addr().String())
	client.Get(t, d.API+"/__heartbeat__")
	awaitLog(t, d, `"msg":"AWS SDK"`, "Date")
	awaitLog(t, d, `"msg":"Unsolicited response received on idle HTTP channel`)
	for line := range strings.Lines(d.Log()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("not one of our lines: %s", line)
		}
	}
}
