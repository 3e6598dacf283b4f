package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/testdata/budgettest"
)

// unread sends an upload and does not read its answer.
func unread(t *testing.T, s *site, connect func() *client) *client {
	t.Helper()
	c := connect()
	f := symbolForm()
	c.send(request(len(f), asDev), string(f))
	synctest.Wait()
	if u := s.budget.Usage(); u.Uploads != 1 || u.Floors != 0 || u.Leased == 0 {
		t.Fatalf("with an unread answer: %+v", u)
	}
	return c
}

// wantGivenUp checks when the server gives up answering c.
func wantGivenUp(t *testing.T, c *client, s *site, began time.Time, least, most time.Duration) {
	t.Helper()
	answers := func() int {
		s.api.mu.Lock()
		defer s.api.mu.Unlock()
		return s.api.active
	}
	time.Sleep(least - time.Since(began) - time.Nanosecond)
	synctest.Wait()
	if answers() == 0 {
		t.Errorf("it is given up before %v", least)
	}
	time.Sleep(most - time.Since(began))
	synctest.Wait()
	if answers() != 0 {
		t.Errorf("it is not given up after %v", most)
	}
	if rest, _ := io.ReadAll(c.from); len(rest) != 0 {
		t.Errorf("%q arrives after that", rest)
	}
	c.leave()
}

// TestUnreadAnswer checks that an unread answer keeps the memory of its names until its
// time is over, but not its turn.
func TestUnreadAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		began := time.Now()
		c := unread(t, s, connect)
		for range 2 {
			other := connect()
			f := symbolForm()
			other.send(request(len(f), asDev, "Connection: close"), string(f))
			other.expect(began, 0, http.StatusCreated)
			other.leave()
		}
		wantGivenUp(t, c, s, began, answerIdle, answerIdle)
	})
}

// TestUnreadAnswerThatIsInTheWay checks that an unread answer has less time while other
// uploads wait for memory.
func TestUnreadAnswerThatIsInTheWay(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.budget = s.api.cfg.Budget
		began := time.Now()
		c := unread(t, s, connect)
		ctx, end := context.WithCancel(t.Context())
		ctx, share := budgettest.Admit(t, ctx, s.budget)
		waits := make(chan struct{})
		go func() {
			defer close(waits)
			for {
				b, err := share.Lease(ctx, budgettest.Part)
				if err != nil {
					return
				}
				defer b.Release()
			}
		}()
		defer func() { end(); <-waits; share.Close() }()
		synctest.Wait()
		wantGivenUp(t, c, s, began, answerPatience, answerPatience+answerPatience/3)
	}, func(c *Config) { c.Budget = budgettest.New(t) })
}

// TestUnreadAnswerInAShutdown checks that a shutdown ends an unread answer.
func TestUnreadAnswerInAShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		c := unread(t, s, connect)
		if took := drain(t, s, 5*time.Second, 0)(); took != 5*time.Second+closeGrace {
			t.Errorf("took %v", took)
		}
		c.leave()
	})
}

// TestAnswerWriter checks that an answer of any length is the JSON that encoding/json
// writes.
func TestAnswerWriter(t *testing.T) {
	for _, count := range []int{0, 1, 100, 5000} {
		var names nameLists
		for i := range count {
			names.uploaded = append(names.uploaded, fmt.Sprintf("%d/<\u202e\u0085é\"%s", i, strings.Repeat("n", i%300)))
		}
		names.skipped = names.uploaded[:count/2]
		w := httptest.NewRecorder()
		d := newWriteDeadline(http.NewResponseController(w), func() bool { return false }, t.Context())
		writeStored(newAnswerWriter(w, http.StatusCreated, d), storedUpload{ID: 7, RedirectURLs: []string{}}, &names)
		d.stop()
		var got struct {
			Upload struct {
				ID       int64
				Uploaded []string `json:"uploaded_keys"`
				Skipped  []string `json:"skipped_keys"`
				Ignored  []string `json:"ignored_keys"`
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%d names: %v in %.300q", count, err, w.Body)
		}
		u := got.Upload
		if w.Code != http.StatusCreated || u.ID != 7 || len(u.Uploaded) != count || len(u.Skipped) != count/2 || u.Ignored == nil ||
			fmt.Sprint(u.Uploaded) != fmt.Sprint(names.uploaded) {
			t.Errorf("%d names: status %d, %d and %d", count, w.Code, len(u.Uploaded), len(u.Skipped))
		}
		if bytes.Contains(w.Body.Bytes(), []byte("\u202e")) {
			t.Errorf("%d names: not printable", count)
		}
		if long := w.Body.Len() > answerBuffer; long != (w.Header().Get("Content-Length") == "") {
			t.Errorf("%d bytes: Content-Length %q", w.Body.Len(), w.Header().Get("Content-Length"))
		}
	}
}

// TestMessagesAreBounded checks the length of messages with long entry names.
func TestMessagesAreBounded(t *testing.T) {
	v := verdictOn(&patternError{strings.Repeat("é", 32<<10)})
	if len(v.message) > maxMessage || !strings.HasPrefix(v.message, "Unrecognized file pattern.") || !strings.HasSuffix(v.message, "é')") {
		t.Errorf("%d bytes: %.100q", len(v.message), v.message)
	}
	if whole := strings.Repeat("a", 1024); !strings.Contains(verdictOn(&patternError{whole}).message, whole) {
		t.Error("a name as long as a key is cut")
	}
}
