package upload

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
)

// TestClaims checks each limit one below, at, and one above its value.
func TestClaims(t *testing.T) {
	c := &claims{uploads: 2, bytes: 100, byToken: map[string]*tokenUse{}}
	begin := func(token string, bytes int64, fits bool) *claim {
		t.Helper()
		l, err := c.begin(token, bytes)
		if _, limited := errors.AsType[*tokenLimitError](err); limited == fits || fits != (l != nil) {
			t.Fatalf("%d bytes of %s: %v", bytes, token, err)
		}
		return l
	}
	begin("a", 101, false)
	first := begin("a", 99, true)
	begin("a", 2, false)
	second := begin("a", 0, true) // of unknown size
	begin("a", 0, false)
	other := begin("b", 100, true)
	if err := second.grow(1); err != nil {
		t.Error(err)
	}
	if err := second.grow(2); err == nil {
		t.Error("101 bytes")
	}
	first.end()
	if err := second.grow(100); err != nil {
		t.Error(err)
	}
	begin("a", 1, false)
	second.end()
	other.end()
	if len(c.byToken) != 0 {
		t.Errorf("%v are kept", c.byToken)
	}
}

func TestTokenLimits(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"uploads": func(c *Config) { c.MaxTokenUploads = 1 },
		"bytes":   func(c *Config) { c.MaxTokenBytes = int64(len(symbolForm())) + 10 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site, connect func() *client) {
				finish := fill(t, s, connect, 1)
				f := symbolForm()
				send := func(header string, status int) {
					t.Helper()
					c := connect()
					defer c.leave()
					c.send(request(len(f), header, "Connection: close"))
					if status == http.StatusCreated {
						c.send(string(f))
					}
					r := c.reply()
					if r.StatusCode != status || status == http.StatusTooManyRequests && r.Header.Get("Retry-After") == "" {
						t.Errorf("%s: status %d, %v: %s", header, r.StatusCode, r.Header, r.body)
					}
				}
				send(asDev, http.StatusTooManyRequests)
				send("Auth-Token: devtry", http.StatusCreated)
				if r := finish[0](); r.StatusCode != http.StatusCreated {
					t.Errorf("status %d: %s", r.StatusCode, r.body)
				}
				send(asDev, http.StatusCreated)
			}, limit)
		})
	}
}

// TestTrickle checks that a client is ended that sends a byte now and then, also within
// one long chunk.
func TestTrickle(t *testing.T) {
	f := encode(formPart{"symbols.zip", "symbols.zip", archive.PythonZipfile(
		archive.File{Name: "app.pdb/ABC1/app.ex_", Data: archive.Noise(1, 40_000)})})
	for framing, parts := range map[string]struct{ header, body string }{
		"length":  {request(len(f), asDev, "Connection: close"), string(f)},
		"chunked": {request(-1, asDev, "Connection: close") + fmt.Sprintf("%x\r\n", len(f)), string(f) + "\r\n" + chunk("")},
	} {
		for _, c := range []struct {
			bytes  int // per second
			status int
			after  time.Duration
		}{{255, 503, time.Minute}, {256, 201, 0}, {257, 201, 0}} {
			t.Run(fmt.Sprintf("%s, %d bytes a second", framing, c.bytes), func(t *testing.T) {
				bubble(t, func(t *testing.T, _ *site, connect func() *client) {
					began := time.Now()
					slow := connect()
					slow.send(parts.header)
					done := make(chan struct{})
					go func() {
						defer close(done)
						for at := 0; at < len(parts.body); at += c.bytes {
							time.Sleep(time.Second)
							if _, err := io.WriteString(slow, parts.body[at:min(len(parts.body), at+c.bytes)]); err != nil {
								return
							}
						}
					}()
					r := slow.reply()
					if took := time.Since(began); r.StatusCode != c.status || c.after > 0 && (took < c.after || took > c.after+10*time.Second) {
						t.Errorf("status %d after %v: %s", r.StatusCode, took, r.body)
					}
					slow.leave()
					<-done
				}, func(cfg *Config) { cfg.UploadTimeout = time.Hour })
			})
		}
	}
}

// TestSpike starts 200 clients at once, with room for 16, that retry as the official
// client does. If each upload takes 10 s, there is time for 500 between the first try and
// the last, and all are stored. If each takes a minute, as many are stored as there is
// time for.
func TestSpike(t *testing.T) {
	const clients, room, tries = 200, 16, 6
	for _, c := range []struct {
		takes time.Duration // to send one
		least int64         // stored
	}{{10 * time.Second, clients}, {time.Minute, room * (tries - 1)}} {
		t.Run(c.takes.String(), func(t *testing.T) {
			stored, refusals := spike(t, clients, room, tries, c.takes)
			if stored < c.least || refusals == 0 {
				t.Errorf("%d of %d were stored, want %d; %d times one was told to come back", stored, clients, c.least, refusals)
			}
			t.Logf("%d stored, %d times one was told to come back", stored, refusals)
		})
	}
}

func spike(t *testing.T, clients, room, tries int, takes time.Duration) (stored, refusals int64) {
	var ok, no atomic.Int64
	bubble(t, func(_ *testing.T, s *site, connect func() *client) {
		s.budget = s.api.cfg.Budget
		f := symbolForm()
		var all sync.WaitGroup
		r := rand.New(rand.NewPCG(1, 2))
		for range clients {
			delay := time.Duration(r.Int64N(int64(time.Second)))
			all.Go(func() {
				time.Sleep(delay)
				for range tries {
					c := connect()
					c.send(request(len(f), asDev, "Expect: 100-continue", "Connection: close"))
					line, _ := c.from.ReadString('\n')
					if line != "HTTP/1.1 100 Continue\r\n" {
						if line != "HTTP/1.1 503 Service Unavailable\r\n" {
							t.Errorf("told to come back with %q", line)
						}
						no.Add(1)
						c.leave()
						time.Sleep(time.Minute)
						continue
					}
					_, _ = c.from.ReadString('\n')
					const pieces = 10
					for piece := range pieces {
						c.send(string(f[len(f)*piece/pieces : len(f)*(piece+1)/pieces]))
						time.Sleep(takes / pieces)
					}
					if c.reply().StatusCode == http.StatusCreated {
						ok.Add(1)
					}
					c.leave()
					return
				}
			})
		}
		all.Wait()
	}, func(c *Config) {
		c.Budget = budgettest.New(t, func(c *budget.Config) { c.Memory, c.Uploads = 1<<30, room })
		c.UploadTimeout = time.Hour
	})
	return ok.Load(), no.Load()
}
