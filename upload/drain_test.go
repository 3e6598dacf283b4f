package upload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/testdata/archive"
)

// long is more than the buffers of a connection's two ends take together.
const long = 24 << 20

// badForm returns a form whose archive is refused at its first entry, and goes on for n
// bytes.
func badForm(n int) []byte {
	return zipForm(append(named("nonsense"), make([]byte, n)...))
}

// refusals are answered long before the body's end.
var refusals = []struct {
	name   string
	header []string
	status int
}{
	{"token", []string{"Auth-Token: nobody"}, http.StatusForbidden},
	{"archive", []string{asDev}, http.StatusBadRequest},
}

// TestClientThatSendsEverythingFirst checks that a client that reads only after it has
// sent everything gets its answer.
func TestClientThatSendsEverythingFirst(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			s := newSite(t, func(c *Config) { c.MaxUploadSize = 2 * long })
			c := dial(t, s.serve())
			f := badForm(long)
			c.send(request(len(f), refusal.header...), string(f))
			if r := c.reply(); r.StatusCode != refusal.status || !r.Close {
				t.Errorf("status %d, close %t: %s", r.StatusCode, r.Close, r.body)
			}
			c.closed()
		})
	}
}

// TestClientThatReadsEarly checks that a refused client can read its answer while it
// sends.
func TestClientThatReadsEarly(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			s := newSite(t, func(c *Config) { c.MaxUploadSize = 2 * long })
			c := dial(t, s.serve())
			f := badForm(long)
			c.send(request(len(f), refusal.header...), string(f[:100<<10]))
			if r := c.reply(); r.StatusCode != refusal.status {
				t.Errorf("status %d: %s", r.StatusCode, r.body)
			}
			c.leave()
		})
	}
}

// chunk is one of a body without a stated length.
func chunk(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }

// TestInterruptedClientThatSendsEverythingFirst lets uploads fail while the client is
// silent in the middle of its archive. The client does not notice, and sends the rest
// before it reads its answer.
func TestInterruptedClientThatSendsEverythingFirst(t *testing.T) {
	// The whole first entry arrives before the client is silent. It keeps a worker busy for
	// longer than it takes to read what follows.
	text := archive.Pattern{Block: archive.Symbols(1, 1<<20), Times: 16}
	packed := archive.Deflated(text)
	good := archive.Build(
		archive.Entry{Name: "a/1/b.sym", Method: archive.Deflate, Large: &text, LargeRaw: &packed},
		archive.Entry{Name: "a/1/c", Data: archive.Noise(2, long)})
	wrong := bytes.Clone(good)
	wrong[14] ^= 1 // the first entry's CRC-32
	const behind = 10_000
	silent := bytes.Index(good, []byte("a/1/c")) + behind
	for _, framing := range []struct {
		name   string
		header func(n int) string
		chunk  func(data string) string
		end    string
	}{
		{"length", func(n int) string { return request(n, asDev) }, strings.Clone, ""},
		{"chunked", func(int) string { return request(-1, asDev) }, chunk, chunk("")},
	} {
		for _, c := range []struct {
			name   string
			zip    []byte
			commit func(context.Context, string) error
			status int
		}{
			{"store", good, func(context.Context, string) error { return errStore }, http.StatusServiceUnavailable},
			{"archive", wrong, nil, http.StatusBadRequest},
		} {
			t.Run(framing.name+", "+c.name, func(t *testing.T) {
				answered := make(chan struct{})
				s := newSite(t, func(cfg *Config) {
					cfg.MaxUploadSize, cfg.IdleTimeout = 2*long, time.Minute
					cfg.Log = cfg.Log.WithOptions(zap.Hooks(func(e zapcore.Entry) error {
						if e.Message == "upload" {
							close(answered)
						}
						return nil
					}))
				})
				s.store.onCommit = c.commit
				client := dial(t, s.serve())
				f := zipForm(c.zip)
				client.send(framing.header(len(f)), framing.chunk(string(f[:silent])))
				<-answered
				for at := silent; at < len(f); at += 1 << 20 {
					client.send(framing.chunk(string(f[at:min(len(f), at+1<<20)])))
				}
				client.send(framing.end)
				if r := client.reply(); r.StatusCode != c.status || !r.Close {
					t.Errorf("status %d, close %t: %s", r.StatusCode, r.Close, r.body)
				}
				// It does not have to wait for the end of the answer.
				client.patience(30 * time.Second)
				if _, err := client.from.ReadByte(); err != io.EOF {
					t.Errorf("after the answer: %v, want the end", err)
				}
				client.leave()
			})
		}
	}
}

// TestDrainHasItsLimit checks that a client without a token is cut off after the size of
// an upload.
func TestDrainHasItsLimit(t *testing.T) {
	for _, c := range []struct {
		name    string
		mib     int
		through bool
	}{
		{"to the limit", 64, true},
		{"far beyond", 128, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, func(c *Config) { c.MaxUploadSize = 64 << 20 })
			conn := dial(t, s.serve())
			conn.send(request(c.mib<<20, "Auth-Token: nobody"))
			if r := conn.reply(); r.StatusCode != http.StatusForbidden {
				t.Errorf("status %d: %s", r.StatusCode, r.body)
			}
			mebibyte := make([]byte, 1<<20)
			sent := 0
			for ; sent < c.mib; sent++ {
				if _, err := conn.Write(mebibyte); err != nil {
					break
				}
			}
			if (sent == c.mib) != c.through || sent < 64 {
				t.Errorf("%d of %d MiB were taken", sent, c.mib)
			}
			conn.leave()
		})
	}
}

// TestArchiveOverTheLimit checks that a client gets the 413 for an archive of up to twice
// --max-upload-size, though it sends everything first. A larger one is cut off.
func TestArchiveOverTheLimit(t *testing.T) {
	const limit = 16 << 20
	mebibyte := make([]byte, 1<<20)
	for _, c := range []struct {
		name    string
		size    int // of the archive, in units of the limit
		chunked bool
		through bool
	}{
		{"twice the limit", 2, false, true},
		{"twice the limit, chunked", 2, true, true},
		{"five times the limit", 5, false, false},
		{"five times the limit, chunked", 5, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, func(c *Config) { c.MaxUploadSize = limit })
			conn := dial(t, s.serve())
			content := archive.Pattern{Block: mebibyte, Times: c.size * limit >> 20}
			f := zipForm(archive.Build(archive.Entry{Name: "a/1/b", Large: &content}))
			framed, length := strings.Clone, len(f)
			if c.chunked {
				framed, length = chunk, -1
			}
			conn.send(request(length, asDev))
			var err error
			for piece := range slices.Chunk(f, 1<<20) {
				if _, err = io.WriteString(conn, framed(string(piece))); err != nil {
					break
				}
			}
			if (err == nil) != c.through {
				t.Fatalf("sending ended with error %v", err)
			}
			if !c.through {
				return
			}
			if c.chunked {
				conn.send(chunk(""))
			}
			if r := conn.reply(); r.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(r.message(), "--max-upload-size") {
				t.Errorf("status %d: %s", r.StatusCode, r.body)
			}
			conn.leave()
		})
	}
}

func TestDrainsAreCounted(t *testing.T) {
	s := newSite(t, func(c *Config) { c.MaxUploadSize = 1 << 30 })
	c := dial(t, s.serve())
	for range maxStrangerDrains {
		s.api.strangerDrains <- struct{}{}
	}
	c.send(request(long, "Auth-Token: nobody"))
	if r := c.reply(); r.StatusCode != http.StatusForbidden || !r.Close {
		t.Errorf("status %d, close %t", r.StatusCode, r.Close)
	}
	c.closed()
	for range maxStrangerDrains {
		<-s.api.strangerDrains
	}
}

// TestExpectContinueRefused checks that a refused client that waits for a 100 gets none, and
// that the server gives the connection up when its body could have begun.
func TestExpectContinueRefused(t *testing.T) {
	bubble(t, func(t *testing.T, _ *site, connect func() *client) {
		c := connect()
		began := time.Now()
		c.send(request(5_000, "Auth-Token: nobody", "Expect: 100-continue"))
		c.expect(began, 0, http.StatusForbidden)
		c.closed()
		if took := time.Since(began); took != continueWait {
			t.Errorf("closed after %v, want %v", took, continueWait)
		}
	})
}

// TestExpectContinueRefusedAtOnce checks that a client that waits for a 100 sees the
// connection's end with its refusal, although its body is still waited for.
func TestExpectContinueRefusedAtOnce(t *testing.T) {
	for _, length := range []int{5_000, -1} {
		c := dial(t, newSite(t).serve())
		began := time.Now()
		c.send(request(length, "Auth-Token: nobody", "Expect: 100-continue"))
		if r := c.reply(); r.StatusCode != http.StatusForbidden || !r.Close {
			t.Errorf("length %d: status %d, close %t", length, r.StatusCode, r.Close)
		}
		c.closed()
		if took := time.Since(began); took >= continueWait {
			t.Errorf("length %d: the connection ended after %v", length, took)
		}
		_ = c.Close()
	}
}

// TestExpectContinueNotWaitedFor checks that a client that expects a 100, does not wait for
// it for long, and reads only after it has sent everything, gets its refusal. Mono is one.
func TestExpectContinueNotWaitedFor(t *testing.T) {
	mebibyte := string(make([]byte, 1<<20))
	for _, chunked := range []bool{false, true} {
		s := newSite(t, func(c *Config) { c.MaxUploadSize = 2 * long })
		c := dial(t, s.serve())
		length, piece, end := long, mebibyte, ""
		if chunked {
			length, piece, end = -1, chunk(mebibyte), chunk("")
		}
		c.send(request(length, "Auth-Token: nobody", "Expect: 100-continue"))
		for range long >> 20 {
			c.send(piece)
		}
		c.send(end)
		if r := c.reply(); r.StatusCode != http.StatusForbidden || !r.Close {
			t.Errorf("chunked %t: status %d, close %t", chunked, r.StatusCode, r.Close)
		}
		c.closed()
	}
}

func TestExpectContinueTaken(t *testing.T) {
	s := newSite(t)
	c := dial(t, s.serve())
	f := symbolForm()
	c.send(request(len(f), asDev, "Expect: 100-continue", "Connection: close"))
	if line, err := c.from.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v, want a 100", line, err)
	}
	_, _ = c.from.ReadString('\n')
	c.send(string(f))
	if r := c.reply(); r.StatusCode != http.StatusCreated {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
}

// TestRestIsNoRequest checks that the rest of a refused body is never taken for another
// request, whether it is drained or not.
func TestRestIsNoRequest(t *testing.T) {
	for _, busy := range []int{0, maxStrangerDrains} {
		s := newSite(t)
		c := dial(t, s.serve())
		for range busy {
			s.api.strangerDrains <- struct{}{}
		}
		smuggled := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
		c.send(request(2*len(smuggled), "Auth-Token: nobody"), smuggled, smuggled, smuggled)
		if r := c.reply(); r.StatusCode != http.StatusForbidden {
			t.Errorf("status %d: %s", r.StatusCode, r.body)
		}
		if rest, _ := io.ReadAll(c.from); len(rest) != 0 {
			t.Errorf("a second answer: %q", rest)
		}
		for range busy {
			<-s.api.strangerDrains
		}
	}
}

// TestManyUploadsAtOnce checks that each of many uploads gets its answer and its objects.
func TestManyUploadsAtOnce(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	const clients = 12
	answers := make(chan error, clients)
	for i := range clients {
		go func() {
			name := fmt.Sprintf("m/%X/a.sym", i)
			f := zipForm(archive.PythonZipfile(archive.File{Name: name, Data: archive.Symbols(uint64(i), 100_000)}))
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/upload/", bytes.NewReader(f))
			if err != nil {
				answers <- err
				return
			}
			r.Header.Set("Auth-Token", "dev")
			r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
			response, err := http.DefaultClient.Do(r)
			if err == nil {
				err = response.Body.Close()
				if response.StatusCode != http.StatusCreated {
					err = fmt.Errorf("status %d", response.StatusCode)
				}
			}
			answers <- err
		}()
	}
	for range clients {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.store.keys()); n != clients {
		t.Errorf("%d objects, want %d", n, clients)
	}
}
