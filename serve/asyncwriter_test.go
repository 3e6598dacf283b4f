package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"spillway/health"
)

// standIn stands in for standard error. Writes block while shut is open, and fail while err
// is set.
type standIn struct {
	mu   sync.Mutex
	shut chan struct{} // closed when writes may go on; nil if they may
	err  error
	n    int // bytes that a write that fails takes
	text bytes.Buffer
}

func (s *standIn) Write(p []byte) (int, error) {
	s.mu.Lock()
	shut := s.shut
	s.mu.Unlock()
	if shut != nil {
		<-shut
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.text.Write(p[:s.n])
		return s.n, s.err
	}
	return s.text.Write(p)
}

func (s *standIn) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *standIn) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSuffix(s.text.String(), "\n"), "\n")
}

// A log that nobody reads queues a bounded number of lines and drops the others. Errors have
// reserved room. Once somebody reads the log again, its last line says how many lines are
// missing.
func TestLogThatHangs(t *testing.T) {
	for _, format := range []string{"json", "mozlog", "console"} {
		t.Run(format, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &standIn{shut: make(chan struct{})}
				log, lines, err := openLog(out, "info", format)
				if err != nil {
					t.Fatal(err)
				}
				svc := &service{logLines: lines}
				text := strings.Repeat("x", 1000)
				const written = 5000
				for range written {
					log.Info("a line", zap.String("text", text))
				}
				log.Error("an error")
				dropped := lines.stats().Dropped
				if kept := written - dropped; kept < 500 || kept > asyncLimit/1000 {
					t.Errorf("%d lines of more than 1000 bytes are kept", kept)
				}
				time.Sleep(logHangAfter + time.Nanosecond)
				if c := svc.checkLog(); c.Level != health.Warning || !strings.Contains(c.Message, "Nobody has read the log") || !strings.Contains(c.Message, fmt.Sprint(dropped)) {
					t.Errorf("while it hangs: %+v", c)
				}

				close(out.shut)
				synctest.Wait()
				got := out.lines()
				if len(got) != written-dropped+2 {
					t.Fatalf("%d lines, want the %d kept, the error and the count", len(got), written-dropped)
				}
				if line := got[len(got)-2]; !strings.Contains(line, "an error") {
					t.Errorf("the error was lost; the line in its place is %s", line)
				}
				if line := got[len(got)-1]; !strings.Contains(line, "log lines were dropped") || !strings.Contains(line, fmt.Sprint(dropped)) {
					t.Errorf("the last line does not say that %d lines were dropped: %s", dropped, line)
				}
				if c := svc.checkLog(); c.Level != health.Warning || !strings.Contains(c.Message, "were dropped") {
					t.Errorf("after it hung: %+v", c)
				}
				time.Sleep(logDropShown)
				if c := svc.checkLog(); c.Level != health.OK {
					t.Errorf("long after it hung: %+v", c)
				}
				lines.close(t.Context())
				if got := lines.stats().Dropped; got != dropped {
					t.Errorf("%d lines dropped at the end, want %d", got, dropped)
				}
			})
		})
	}
}

// A log that cannot be written loses only the lines of that time. After a line that was cut
// off, the next one begins on a line of its own.
func TestLogThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &standIn{}
		log, lines, err := openLog(out, "info", "json")
		if err != nil {
			t.Fatal(err)
		}
		svc := &service{logLines: lines}
		log.Info("before")
		synctest.Wait()
		out.set(func() { out.err, out.n = syscall.ENOSPC, 10 })
		for range 3 {
			log.Info("lost")
			synctest.Wait()
		}
		if c := svc.checkLog(); c.Level != health.Warning || !strings.Contains(c.Message, "no space left on device") || !strings.Contains(c.Message, "3 lines") {
			t.Errorf("while it fails: %+v", c)
		}
		time.Sleep(2 * logDropShown)
		if c := svc.checkLog(); c.Level != health.Warning {
			t.Errorf("while it still fails: %+v", c)
		}
		out.set(func() { out.err = nil })
		log.Info("after")
		synctest.Wait()
		var messages []string
		for _, line := range out.lines() {
			var event struct {
				Msg   string
				Lines int
			}
			if json.Unmarshal([]byte(line), &event) == nil {
				messages = append(messages, fmt.Sprint(event.Msg, " ", event.Lines))
			}
		}
		want := []string{"before 0", "after 0", "log lines were dropped: nobody read them in time, or writing them failed 3"}
		if fmt.Sprint(messages) != fmt.Sprint(want) {
			t.Errorf("the log has %q, want %q", messages, want)
		}
		lines.close(t.Context())
	})
}

// Closing the log writes the queue, without waiting for a log that hangs. Later lines are
// dropped.
func TestLogIsFlushedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &standIn{shut: make(chan struct{})}
		log, lines, err := openLog(out, "info", "json")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			log.Info("a line")
		}
		ctx, cancel := context.WithTimeout(t.Context(), logFlushTimeout)
		defer cancel()
		began := time.Now()
		lines.close(ctx)
		if took := time.Since(began); took != logFlushTimeout {
			t.Errorf("closing a log that hangs took %v, want %v", took, logFlushTimeout)
		}
		close(out.shut)
		lines.close(t.Context())
		if got := out.lines(); len(got) != 3 {
			t.Errorf("%d lines, want 3", len(got))
		}
		log.Info("too late")
		if got := lines.stats().Dropped; got != 1 {
			t.Errorf("%d lines dropped, want the one that came too late", got)
		}
	})
}
