package upload

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// breaksOff uploads from a remote whose file breaks off for good after n bytes, and checks that
// nothing is stored or kept.
func (s *site) breaksOff(c *client, n int) {
	s.t.Helper()
	s.logs.TakeAll()
	c.send(urlForm("url", link))
	if r := c.reply(); r.StatusCode != http.StatusServiceUnavailable {
		s.t.Errorf("after %d bytes: status %d: %s", n, r.StatusCode, r.body)
	}
	c.leave()
	synctest.Wait()
	s.idle()
	if len(s.store.keys()) != 0 {
		s.t.Errorf("after %d bytes: stored %q", n, s.store.keys())
	}
}

// downloadEnd is what ends an upload by URL whose remote pauses.
type downloadEnd struct {
	pause   time.Duration
	act     func(s *site, c *client) // nil: nothing
	after   time.Duration
	status  int // 0: nobody reads the answer
	outcome string
}

func leaves(_ *site, c *client) {
	time.Sleep(3 * time.Second)
	c.leave()
}

func shutsDown(s *site, _ *client) {
	time.Sleep(2 * time.Second)
	s.api.close()
}

// check uploads from the remote that prepare sets up. It checks when and how the upload ends, and
// that nothing is stored but by an upload that succeeds. It returns the upload's event.
func (e downloadEnd) check(t *testing.T, prepare func(s *site)) (event map[string]any) {
	t.Helper()
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		prepare(s)
		began := time.Now()
		c := connect()
		c.send(urlForm("url", link))
		if e.act != nil {
			e.act(s, c)
		}
		if e.status != 0 {
			c.expect(began, e.after, e.status)
			c.leave()
		}
		synctest.Wait()
		event = s.event()
		if event["outcome"] != e.outcome || time.Since(began) != e.after {
			t.Errorf("after %v: event %v", time.Since(began), event)
		}
		if len(s.store.keys()) != 0 && e.outcome != "stored" {
			t.Errorf("stored %q", s.store.keys())
		}
	}, func(cfg *Config) {
		if e.outcome == "timed out" {
			cfg.UploadTimeout = 4 * time.Second
		}
	})
	return event
}
