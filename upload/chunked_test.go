package upload

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"spillway/testdata/archive"
)

// longForm is a form of over a MiB, for chunks that are longer than any read.
func longForm() []byte {
	return zipForm(archive.PythonZipfile(archive.File{Name: "a/1/b", Data: archive.Noise(1, 1<<20)}))
}

// longChunks is bubble for uploads of longForm.
func longChunks(t *testing.T, test func(t *testing.T, s *site, c *client, form []byte)) {
	t.Helper()
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		test(t, s, connect(), longForm())
	}, func(c *Config) { c.MaxUploadSize, c.UploadTimeout = 8<<20, time.Hour })
}

// sendSlowly sends n bytes of data after each pause, until everything is sent or the
// server has closed the connection. It returns how many bytes it sent.
func (c *client) sendSlowly(data []byte, n int, pause time.Duration) (sent int) {
	for sent < len(data) {
		time.Sleep(pause)
		k, err := c.Write(data[sent:min(len(data), sent+n)])
		if sent += k; err != nil {
			break
		}
	}
	return sent
}

// TestChunksTakeFewReads checks that a body in long chunks takes as few reads from the
// connection as a body of stated length.
func TestChunksTakeFewReads(t *testing.T) {
	reads := make(map[string]int64)
	for name, framing := range map[string]func(form string) (header, body string){
		"length":    func(form string) (string, string) { return request(len(form), asDev), form },
		"one chunk": func(form string) (string, string) { return request(-1, asDev), chunk(form) + chunk("") },
		"two chunks": func(form string) (string, string) {
			return request(-1, asDev), chunk(form[:600_000]) + chunk(form[600_000:]) + chunk("")
		},
	} {
		longChunks(t, func(t *testing.T, s *site, c *client, form []byte) {
			header, body := framing(string(form))
			c.send(header, body)
			if r := c.reply(); r.StatusCode != 201 {
				t.Errorf("%s: status %d: %s", name, r.StatusCode, r.body)
			}
			reads[name] = s.arrivals.reads.Load()
			c.leave()
		})
	}
	if n := reads["length"]; n > 40 || reads["one chunk"] > n+10 || reads["two chunks"] > n+10 {
		t.Errorf("reads of the connection: %v", reads)
	}
}

// TestLongChunkFromAClientThatBecomesSlow checks that a client may become slow in the
// middle of a chunk. It sends 600 bytes per second, which is fast enough, for longer than
// the idle timeout.
func TestLongChunkFromAClientThatBecomesSlow(t *testing.T) {
	longChunks(t, func(t *testing.T, _ *site, c *client, form []byte) {
		c.send(request(-1, asDev), fmt.Sprintf("%x\r\n", len(form)), string(form[:len(form)/2]))
		slow := form[len(form)/2:][:150_000]
		if n := c.sendSlowly(slow, 600, time.Second); n < len(slow) {
			t.Errorf("%d bytes were taken slowly, want %d", n, len(slow))
		}
		c.send(string(form[len(form)/2+len(slow):]), "\r\n", chunk(""))
		if r := c.reply(); r.StatusCode != 201 {
			t.Errorf("status %d: %s", r.StatusCode, r.body)
		}
		c.leave()
	})
}

// TestLongChunkThatStops checks that a client that sends nothing more, or hardly anything,
// is ended in the middle of a chunk.
func TestLongChunkThatStops(t *testing.T) {
	for _, c := range []struct {
		name     string
		more     []byte // sent slowly
		from, to time.Duration
	}{
		{"nothing", nil, 10 * time.Second, 10 * time.Second},
		{"some, then nothing", make([]byte, 3), 37 * time.Second, 37 * time.Second},
		{"next to nothing", make([]byte, 100), 2 * time.Minute, 140 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			longChunks(t, func(t *testing.T, s *site, client *client, form []byte) {
				client.send(request(-1, asDev), fmt.Sprintf("%x\r\n", len(form)), string(form[:len(form)/2]))
				began := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					client.sendSlowly(c.more, 1, 9*time.Second)
				}()
				r := client.reply()
				if took := time.Since(began); r.StatusCode != 503 || took < c.from || took > c.to {
					t.Errorf("status %d after %v, want 503 after %v to %v: %s", r.StatusCode, took, c.from, c.to, r.body)
				}
				client.leave()
				<-sent
				if e := s.event(); e["outcome"] != "timed out" {
					t.Errorf("event %v", e)
				}
			})
		})
	}
}

// TestLongChunkIsInterrupted checks that bytes that still arrive do not delay the end of
// an upload that fails.
func TestLongChunkIsInterrupted(t *testing.T) {
	longChunks(t, func(t *testing.T, s *site, c *client, form []byte) {
		s.store.onBegin = func(fail func(error)) { time.AfterFunc(5500*time.Millisecond, func() { fail(errStore) }) }
		c.send(request(-1, asDev), fmt.Sprintf("%x\r\n", len(form)), string(form[:len(form)/2]))
		began := time.Now()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.sendSlowly(form[len(form)/2:][:10_000], 300, time.Second)
		}()
		c.expect(began, 5500*time.Millisecond, 503)
		c.leave()
		<-sent
		synctest.Wait()
		if e := s.event(); e["outcome"] != "failed" {
			t.Errorf("event %v", e)
		}
	})
}
