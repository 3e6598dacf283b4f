package upload

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/testdata/archive"
)

// bubble runs a test against a site in fake time. Its goroutines have to end by themselves
// when the server is stopped.
func bubble(t *testing.T, test func(t *testing.T, s *site, connect func() *client), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, change...)
		connect, stop := s.serveInBubble()
		test(t, s, connect)
		synctest.Wait()
		s.idle()
		stop()
	})
}

// expect checks an answer and when it came.
func (c *client) expect(began time.Time, after time.Duration, status int) {
	c.t.Helper()
	r := c.reply()
	if took := time.Since(began); r.StatusCode != status || took != after {
		c.t.Errorf("status %d after %v, want %d after %v: %s", r.StatusCode, took, status, after, r.body)
	}
}

func TestIdleTimeout(t *testing.T) {
	f := symbolForm()
	for where, n := range map[string]int{"before the body": 0, "in the form": 60, "in the archive": len(f) / 2, "after the archive": len(f) - 5} {
		t.Run(where, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site, connect func() *client) {
				c := connect()
				c.send(request(len(f), asDev), string(f[:n]))
				c.expect(time.Now(), 10*time.Second, 503)
				c.closed()
				if e := s.event(); e["outcome"] != "timed out" {
					t.Errorf("event %v", e)
				}
				if len(s.store.keys()) != 0 {
					t.Errorf("stored %q", s.store.keys())
				}
				c.leave()
			})
		})
	}
}

// TestSlowClientIsNotIdle checks that a slow client is not ended as idle, but when the
// upload takes too long.
func TestSlowClientIsNotIdle(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		c := connect()
		f := symbolForm()
		began := time.Now()
		c.send(request(len(f), asDev), string(f[:1000]))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 1000; ; i++ {
				time.Sleep(9 * time.Second)
				if _, err := c.Write(f[i : i+1]); err != nil {
					return
				}
			}
		}()
		c.expect(began, time.Minute, 503)
		c.leave()
		<-done
		if e := s.event(); e["outcome"] != "timed out" {
			t.Errorf("event %v", e)
		}
	})
}

// TestTimeInWhichNobodyReads checks that time between reads does not count as the idle
// time of the client.
func TestTimeInWhichNobodyReads(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.store.onBegin = func(func(error)) { time.Sleep(50 * time.Second) }
		c := connect()
		f := symbolForm()
		began := time.Now()
		c.send(request(len(f), asDev, "Connection: close"), string(f))
		c.expect(began, 50*time.Second, 201)
		c.leave()
	})
}

// TestStoreFailsWhileTheClientIsSilent checks that a failure of the store interrupts the
// read from the client.
func TestStoreFailsWhileTheClientIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.store.onBegin = func(fail func(error)) { time.AfterFunc(3*time.Second, func() { fail(errStore) }) }
		c := connect()
		f := symbolForm()
		c.send(request(len(f), asDev), string(f[:len(f)/2]))
		c.expect(time.Now(), 3*time.Second, 503)
		c.leave()
		if e := s.event(); e["outcome"] != "failed" {
			t.Errorf("event %v", e)
		}
	})
}

// TestPublishingGoesOn checks that neither the client's leaving nor the upload's timeout
// ends publishing.
func TestPublishingGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.store.onPublish = func() error {
			time.Sleep(2 * time.Minute)
			return nil
		}
		c := connect()
		f := symbolForm()
		c.send(request(len(f), asDev), string(f))
		time.Sleep(time.Second)
		c.leave()
		time.Sleep(3 * time.Minute)
		if e := s.event(); e["outcome"] != "stored" || len(s.store.keys()) != 2 {
			t.Errorf("event %v, stored %q", e, s.store.keys())
		}
	})
}

// TestNothingIsPublishedBeforeTheFormsEnd checks that a complete archive is not published
// before the form's end.
func TestNothingIsPublishedBeforeTheFormsEnd(t *testing.T) {
	for _, rest := range []int{len(theEnd), 2, 1} {
		bubble(t, func(t *testing.T, s *site, connect func() *client) {
			c := connect()
			f := symbolForm()
			c.send(request(len(f), asDev, "Connection: close"), string(f[:len(f)-rest]))
			time.Sleep(5 * time.Second)
			if len(s.store.keys()) != 0 || s.store.begun() != 1 {
				t.Errorf("%d bytes before the end: stored %q", rest, s.store.keys())
			}
			c.send(string(f[len(f)-rest:]))
			if r := c.reply(); r.StatusCode != http.StatusCreated || len(s.store.keys()) != 2 {
				t.Errorf("status %d: %s", r.StatusCode, r.body)
			}
			c.leave()
		})
	}
}

// TestEveryCutOff checks that nothing is stored or kept of a body that breaks off.
func TestEveryCutOff(t *testing.T) {
	f := symbolForm()
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(f), f)
	for _, framing := range []struct {
		name, header string
		body         string
	}{
		{"length", request(len(f), asDev), string(f)},
		{"chunked", request(-1, asDev), chunk},
		{"chunked in a form cut off", request(-1, asDev), fmt.Sprintf("%x\r\n%s\r\n", len(f)-20, f[:len(f)-20])},
	} {
		bubble(t, func(t *testing.T, s *site, connect func() *client) {
			var cuts []int
			for n := 0; n < len(framing.body)-80; n += 173 {
				cuts = append(cuts, n)
			}
			for n := len(framing.body) - 80; n < len(framing.body); n++ {
				cuts = append(cuts, n)
			}
			for _, n := range cuts {
				s.logs.TakeAll()
				c := connect()
				c.send(framing.header, framing.body[:n])
				c.leave()
				synctest.Wait()
				if e := s.event(); e["outcome"] != "client gone" {
					t.Errorf("%s, cut after %d bytes: event %v", framing.name, n, e)
				}
				s.idle()
			}
			if len(s.store.keys()) != 0 {
				t.Errorf("stored %q", s.store.keys())
			}
		})
	}
}

// fill begins n uploads that then wait for the rest of their body.
func fill(t *testing.T, s *site, connect func() *client, n int) (finish []func() *reply) {
	t.Helper()
	f := symbolForm()
	for range n {
		c := connect()
		c.send(request(len(f), asDev, "Connection: close"), string(f[:len(f)/2]))
		finish = append(finish, func() *reply {
			defer c.leave()
			c.send(string(f[len(f)/2:]))
			return c.reply()
		})
	}
	synctest.Wait()
	if u := s.budget.Usage(); u.Uploads != n {
		t.Fatalf("%d uploads are under way, want %d", u.Uploads, n)
	}
	return finish
}

// TestAdmission checks that an upload waits for its turn before its body is read.
func TestAdmission(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		finish := fill(t, s, connect, 2)
		late := connect()
		began := time.Now()
		late.send(request(5000, asDev, "Expect: 100-continue"))
		late.expect(began, time.Second, 503) // and not a 100
		late.leave()

		next := connect()
		f := symbolForm()
		next.send(request(len(f), asDev, "Expect: 100-continue", "Connection: close"))
		time.Sleep(500 * time.Millisecond)
		if r := finish[0](); r.StatusCode != 201 {
			t.Errorf("first: status %d: %s", r.StatusCode, r.body)
		}
		if line, err := next.from.ReadString('\n'); err != nil || !bytes.Contains([]byte(line), []byte("100 Continue")) {
			t.Errorf("%q, %v, want a 100 once it is the upload's turn", line, err)
		}
		_, _ = next.from.ReadString('\n')
		next.send(string(f))
		if r := next.reply(); r.StatusCode != 201 {
			t.Errorf("next: status %d: %s", r.StatusCode, r.body)
		}
		next.leave()
		if r := finish[1](); r.StatusCode != 201 {
			t.Errorf("second: status %d: %s", r.StatusCode, r.body)
		}
	})
}

// TestAdmissionOfFormsWithoutFiles checks that forms without files wait for their turn as
// others do, and keep it until their end.
func TestAdmissionOfFormsWithoutFiles(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		const body = "url=https%3A%2F%2Fx%2Fy.zip"
		header := func(lines ...string) string {
			return fmt.Sprintf("POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n%s\r\n\r\n",
				len(body), strings.Join(append(lines, asDev, "Connection: close"), "\r\n"))
		}
		finish := fill(t, s, connect, 1)
		slow := connect()
		slow.send(header(), body[:5])
		synctest.Wait()
		if u := s.budget.Usage(); u.Uploads != 2 {
			t.Errorf("%d uploads are under way, want 2", u.Uploads)
		}
		late := connect()
		late.send(header("Expect: 100-continue"))
		late.expect(time.Now(), time.Second, 503) // and not a 100
		late.leave()
		slow.send(body[5:])
		slow.expect(time.Now(), 0, 400)
		slow.leave()
		if r := finish[0](); r.StatusCode != 201 {
			t.Errorf("status %d: %s", r.StatusCode, r.body)
		}
	})
}

// TestDrainOfABodyHasItsTime checks that the drain of an endless body ends in time, also
// if the body is chunked and a read of it has timed out before.
func TestDrainOfABodyHasItsTime(t *testing.T) {
	f := symbolForm()
	for _, c := range []struct {
		name, request, more string
		status              int
		after               time.Duration
		takes               time.Duration // the drain
	}{
		{"length, no token", request(1<<20, "Auth-Token: nobody"), strings.Repeat("x", minRate), 403, 0, time.Minute},
		{"length, no token, too slow", request(1<<20, "Auth-Token: nobody"), "x", 403, 0, rateWindow},
		{"length, idle", request(1<<20, asDev) + string(f[:1000]), "x", 503, 10 * time.Second, shortDrainTime},
		{"chunked, no token", request(-1, "Auth-Token: nobody"), chunk(strings.Repeat("x", minRate)), 403, 0, time.Minute},
		{"chunked, idle", request(-1, asDev) + chunk(string(f[:1000])), chunk("x"), 503, 10 * time.Second, shortDrainTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(_ *testing.T, _ *site, connect func() *client) {
				client := connect()
				client.send(c.request)
				client.expect(time.Now(), c.after, c.status)
				answered := time.Now()
				for range 1000 {
					if _, err := client.Write([]byte(c.more)); err != nil {
						break
					}
					time.Sleep(time.Second)
				}
				if took := time.Since(answered); took < c.takes || took > c.takes+5*time.Second {
					client.t.Errorf("read on for %v, want %v", took, c.takes)
				}
				client.leave()
			})
		})
	}
}

// TestEntryFailsWhileTheClientIsSilent checks that a failed entry ends the upload at once.
func TestEntryFailsWhileTheClientIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.store.onCommit = func(context.Context, string) error {
			time.Sleep(2 * time.Second)
			return errStore
		}
		f := zipForm(archive.PythonZipfile(
			archive.File{Name: "a/1/b", Data: archive.Noise(1, 20_000)},
			archive.File{Name: "a/1/c", Data: archive.Noise(2, 20_000)}))
		c := connect()
		c.send(request(len(f), asDev), string(f[:len(f)-15_000]))
		c.expect(time.Now(), 2*time.Second, 503)
		c.leave()
	})
}
