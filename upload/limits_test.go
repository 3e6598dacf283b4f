package upload

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimits checks each limit on a request one below, at, and one above its value. Other
// tests check the limits of a token (TestClaims, TestTokenLimits), those on time
// (TestIdleTimeout, TestTrickle), and those on the contents of an archive that no setting
// has (package stream).
func TestLimits(t *testing.T) {
	zip := formPart{"symbols.zip", "symbols.zip", symbolZip}
	field := func(n int) formPart { return formPart{"x", "", make([]byte, n)} }
	// header returns a request header of exactly n bytes.
	header := func(body []byte, n int) []string {
		lines := []string{asDev, "Connection: close", "X-Pad: "}
		lines[2] += strings.Repeat("a", n-len(request(len(body), lines...)))
		return lines
	}
	for _, c := range []struct {
		name string
		// at returns a request that exceeds the limit by over. header is nil for an
		// ordinary header.
		at      func(over int, cfg *Config) (body []byte, header []string)
		status  int    // above
		message string // contained in the answer above the limit
	}{
		{"bytes of the archive", func(over int, cfg *Config) ([]byte, []string) {
			cfg.MaxUploadSize = int64(len(symbolZip) - over)
			return encode(zip), nil
		}, 413, "--max-upload-size"},
		{"entries", func(over int, cfg *Config) ([]byte, []string) {
			cfg.MaxEntries = 3 - over
			return encode(zip), nil
		}, 413, "more than the 2 entries that --max-entries allows"},
		{"expanded bytes", func(over int, cfg *Config) ([]byte, []string) {
			cfg.MaxExpanded = int64(30_000 + 5_000 + 8 - over)
			return encode(zip), nil
		}, 413, "--max-expanded-size"},
		{"bytes of a name", func(over int, _ *Config) ([]byte, []string) {
			return zipForm(named("a/1/" + strings.Repeat("b", 1021-len("a/1/")+over))), nil
		}, 400, "longer than the 1021 bytes that a key in the storage has room for"},
		{"parts of the form", func(over int, _ *Config) ([]byte, []string) {
			parts := make([]formPart, maxFormParts-1+over)
			for i := range parts {
				parts[i] = field(1)
			}
			return encode(append(parts, zip)...), nil
		}, 413, "The form has more than the 100 parts"},
		{"parts of the form, behind the archive", func(over int, _ *Config) ([]byte, []string) {
			parts := []formPart{zip}
			for range maxFormParts - 1 + over {
				parts = append(parts, field(1))
			}
			return encode(parts...), nil
		}, 413, "The form has more than the 100 parts"},
		{"bytes of fields", func(over int, _ *Config) ([]byte, []string) {
			return encode(field(maxFields/2), field(maxFields/2+over), zip), nil
		}, 413, "more than the 1048576 bytes of fields before the archive"},
		{"bytes of a part's header", func(over int, _ *Config) ([]byte, []string) {
			const fields = "Content-Disposition: form-data; name=\"x\"\r\nX-Pad: \r\n"
			pad := strings.Repeat("a", maxPartHeader-len(fields)+over)
			before := sep + "\r\n" + strings.Replace(fields, "X-Pad: ", "X-Pad: "+pad, 1) + "\r\nvalue\r\n"
			return append([]byte(before), encode(zip)...), nil
		}, 413, "more than the 65536 bytes in the header of a part"},
		{"bytes of the request's header", func(over int, _ *Config) ([]byte, []string) {
			return encode(zip), header(encode(zip), maxHeader+over)
		}, 431, "The header of the request is longer than the 16 KiB (16384 bytes)"},
	} {
		for over := -1; over <= 1; over++ {
			t.Run(fmt.Sprintf("%s%+d", c.name, over), func(t *testing.T) {
				var body []byte
				var fields []string
				s := newSite(t, func(cfg *Config) {
					cfg.MaxUploadSize = 4 << 20
					body, fields = c.at(over, cfg)
				})
				if fields == nil {
					fields = []string{asDev, "Connection: close"}
				}
				client := dial(t, s.serve())
				client.send(request(len(body), fields...))
				// The server may close the connection before everything is sent.
				_, _ = client.Write(body)
				r := client.reply()
				switch {
				case over <= 0 && r.StatusCode != http.StatusCreated:
					t.Errorf("status %d: %s", r.StatusCode, r.body)
				case over > 0 && (r.StatusCode != c.status || !strings.Contains(r.message(), c.message)):
					t.Errorf("status %d: %s\nwant %d: %s", r.StatusCode, r.message(), c.status, c.message)
				case over > 0 && len(s.store.keys()) > 0:
					t.Errorf("stored %q", s.store.keys())
				}
			})
		}
	}
}

// TestLengthOfARequest checks that a request that states too great a length is refused
// before its body is read. A form may be 1 MiB longer than an archive.
func TestLengthOfARequest(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	for over := -1; over <= 1; over++ {
		c := dial(t, address)
		f := symbolForm()
		c.send(request(1<<20+formOverhead+over, asDev, "Connection: close", "Expect: 100-continue"))
		line, err := c.from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		want := "HTTP/1.1 100 Continue\r\n"
		if over > 0 {
			want = "HTTP/1.1 413 Request Entity Too Large\r\n"
		}
		if line != want {
			t.Errorf("%+d: %q, want %q", over, line, want)
		}
		if over <= 0 { // the epilogue is not part of a form
			_, _ = c.from.ReadString('\n')
			c.send(string(f), strings.Repeat("e", 1<<20+formOverhead+over-len(f)))
			if r := c.reply(); r.StatusCode != http.StatusCreated {
				t.Errorf("%+d: status %d: %s", over, r.StatusCode, r.body)
			}
		}
		c.leave()
	}
}

// TestLengthOfAURLForm checks the limit on forms without files, which are read whole.
func TestLengthOfAURLForm(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	for over := -1; over <= 1; over++ {
		c := dial(t, address)
		body := "x=" + strings.Repeat("y", maxURLForm-2+over)
		c.send("POST /upload/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n",
			asDev, fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(body)), body)
		status := http.StatusBadRequest
		if over > 0 {
			status = http.StatusRequestEntityTooLarge
		}
		if r := c.reply(); r.StatusCode != status {
			t.Errorf("%+d: status %d: %s", over, r.StatusCode, r.body)
		}
		c.leave()
	}
}

// TestLongestBoundary checks the limit of RFC 2046.
func TestLongestBoundary(t *testing.T) {
	for over := -1; over <= 1; over++ {
		boundary := strings.Repeat("b", maxBoundary+over)
		_, err := boundaryOf("multipart/form-data; boundary=" + boundary)
		if (err != nil) != (over > 0) {
			t.Errorf("%+d: %v", over, err)
		}
	}
}

// TestBodyThatNobodyWants checks that a request with a body to a path that needs none is
// answered, and that its connection is closed.
func TestBodyThatNobodyWants(t *testing.T) {
	for _, c := range []struct {
		path   string
		pad    int
		status int
	}{
		{pathAuthInfo, 0, http.StatusOK},
		{"/nothing", 0, http.StatusNotFound},
		{pathUpload, maxHeader, http.StatusRequestHeaderFieldsTooLarge},
		{"/nothing", maxHeader, http.StatusRequestHeaderFieldsTooLarge},
	} {
		synctest.Test(t, func(t *testing.T) {
			connect, stop := newSite(t).serveInBubble()
			client := connect()
			began := time.Now()
			client.send("POST ", c.path, " HTTP/1.1\r\nHost: a\r\n", asDev, "\r\nContent-Length: 1000\r\nX-Pad: ", strings.Repeat("a", c.pad), "\r\n\r\n")
			if got := client.reply(); got.StatusCode != c.status {
				t.Errorf("%s: status %d, want %d", c.path, got.StatusCode, c.status)
			}
			client.closed()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: the connection is there for %v", c.path, took)
			}
			client.leave()
			stop()
		})
	}
}
