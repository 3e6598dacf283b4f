package openapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
)

// TestAnswers causes every answer of the document.
func TestAnswers(t *testing.T) {
	c := load(t)
	t.Chdir("../..") // the program is another module
	binary, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, args ...string) *daemon.Daemon {
		t.Helper()
		d, err := daemon.Start(within(t), binary, nil, append([]string{
			"--dev", "--log-format=json", "--listen=127.0.0.1:0", "--dev-s3-listen=127.0.0.1:0",
		}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		return d
	}
	t.Run("uploads", func(t *testing.T) { c.uploads(t, start(t, "--tokens-file="+tokensFile(t))) })
	t.Run("by URL", func(t *testing.T) { c.byURL(t, start(t, "--download-any")) })
	t.Run("limits", func(t *testing.T) {
		c.limits(t, start(t, "--max-entries=2", "--max-upload-size=64KiB", "--max-token-uploads=1"))
	})
	t.Run("probes", func(t *testing.T) { c.probes(t, start(t)) })
	t.Run("no store", func(t *testing.T) { c.noStore(t, start(t, "--s3-endpoint=http://127.0.0.1:1")) })
	t.Run("tokens that cannot be checked", func(t *testing.T) { c.unchecked(t, start(t, "--tokens-upstream=http://127.0.0.1:1")) })
	t.Run("shutdown", func(t *testing.T) { c.shutdown(t, start(t)) })
	if !t.Failed() {
		c.checkCoverage(t)
	}
}

const (
	symbols = "app.pdb/44E4EC8C2F41492B9369D6B9A059577C2/app.sym"

	expired   = "e0"
	powerless = "e1"
)

// tokensFile returns a file with a token that has expired and one that may upload nothing.
func tokensFile(t *testing.T) string {
	t.Helper()
	type token struct {
		ID          int       `json:"id"`
		Email       string    `json:"email"`
		SHA256      string    `json:"sha256"`
		Permissions []string  `json:"permissions"`
		CreatedAt   time.Time `json:"created_at"`
		ExpiresAt   time.Time `json:"expires_at"`
	}
	digest := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	now := time.Now()
	text, err := json.Marshal(map[string][]token{"tokens": {
		{1, "a@example.com", digest(expired), []string{"upload_symbols"}, now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)},
		{2, "b@example.com", digest(powerless), []string{}, now, now.AddDate(1, 0, 0)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A part is a part of a form.
type part struct {
	name, filename string
	content        []byte
	encoding       string // Content-Transfer-Encoding
}

// form returns an upload with these parts.
func form(t *testing.T, api, token string, parts ...part) *http.Request {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range parts {
		disposition := fmt.Sprintf(`form-data; name=%q`, p.name)
		if p.filename != "" {
			disposition += fmt.Sprintf(`; filename=%q`, p.filename)
		}
		header := textproto.MIMEHeader{"Content-Disposition": {disposition}}
		if p.encoding != "" {
			header.Set("Content-Transfer-Encoding", p.encoding)
		}
		out, err := w.CreatePart(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(p.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := request(t, http.MethodPost, api+"/upload/", token, &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	return r
}

func request(t *testing.T, method, url, token string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Auth-Token", token)
	}
	return r
}

func file(content []byte) part {
	return part{name: "symbols.zip", filename: "symbols.zip", content: content}
}

// urlForm returns an upload of the archive at a URL.
func urlForm(t *testing.T, api, token, archive string) *http.Request {
	t.Helper()
	r := request(t, http.MethodPost, api+"/upload/", token, strings.NewReader(url.Values{"url": {archive}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func (c *contract) uploads(t *testing.T, d *daemon.Daemon) {
	entry := archive.Entry{Name: symbols, Data: []byte("MODULE")}
	good := archive.Build(entry, archive.Entry{Name: "build-symbols.txt", Data: []byte("app.sym\n")})
	damaged := archive.Build(archive.Entry{Name: symbols, Data: []byte("MODULE"), Raw: []byte("module")})
	for range 2 { // stored, then skipped
		c.send(t, form(t, d.API, "dev", file(good)))
	}
	c.send(t, form(t, d.API, "devtry", part{name: "try", content: []byte("1")}, file(good)))
	for _, parts := range [][]part{
		{{name: "note", content: []byte("no file")}},
		{{name: "symbols.rar", filename: "symbols.rar", content: good}},
		{file([]byte("text"))},
		{file(good[:len(good)/2])},
		{file(damaged)},
		{file(archive.Build(archive.Entry{Name: symbols, Data: []byte("ab")}, archive.Entry{Name: symbols, Data: []byte("abc")}))},
		{file(archive.Build(archive.Entry{Name: "qcom/proprietary/app.sym"}))},
		{file(archive.Build(archive.Entry{Name: "app.sym"}))},
		{file(good), {name: "try", content: []byte("1")}},
		{{name: "symbols.zip", filename: "symbols.zip", content: good, encoding: "base64"}},
	} {
		c.send(t, form(t, d.API, "dev", parts...))
	}
	c.send(t, request(t, http.MethodPost, d.API+"/upload/", "dev", strings.NewReader("text")))
	for _, archive := range []string{"http://example.com/a.zip", "https://example.com/a.zip", "https://"} {
		c.send(t, urlForm(t, d.API, "dev", archive))
	}
	for _, token := range []string{"", "unknown", expired, powerless} {
		c.send(t, form(t, d.API, token, file(good)))
		c.send(t, request(t, http.MethodPost, d.API+"/upload/auth_info/", token, nil))
	}
	c.send(t, request(t, http.MethodPost, d.API+"/upload/auth_info/", "dev", nil))
	encoded := form(t, d.API, "dev", file(good))
	encoded.Header.Set("Content-Encoding", "gzip")
	c.send(t, encoded)
	for _, path := range []string{"/upload/", "/upload/auth_info/", "/nothing"} { // no operations of the document
		c.send(t, request(t, http.MethodGet, d.API+path, "", nil))
	}
	for path, item := range c.document.Paths.Map() {
		if path == "/metrics" {
			continue
		}
		for method := range item.Operations() {
			long := request(t, method, d.API+path, "dev", nil)
			long.Header.Set("X-Pad", strings.Repeat("a", 17<<10))
			c.send(t, long)
		}
	}
}

// byURL uploads the sample archive by its URL.
func (c *contract) byURL(t *testing.T, d *daemon.Daemon) {
	body := c.send(t, urlForm(t, d.API, "dev", d.API+"/sample.zip"))
	if !bytes.Contains(body, []byte(`"download_url":"http`)) {
		t.Errorf("no download_url: %s", body)
	}
	c.send(t, urlForm(t, d.API, "dev", d.API+"/nothing.zip"))
}

func (c *contract) limits(t *testing.T, d *daemon.Daemon) {
	c.send(t, form(t, d.API, "dev", file(archive.Build(
		archive.Entry{Name: "a/1/a"}, archive.Entry{Name: "a/1/b"}, archive.Entry{Name: "a/1/c"}))))
	c.send(t, form(t, d.API, "dev", file(archive.Build(archive.Entry{Name: "a/1/a", Data: archive.Noise(1, 100<<10)}))))
	finish := sendHalf(t, d)
	c.send(t, form(t, d.API, "dev", file(archive.Build(archive.Entry{Name: "a/1/b"}))))
	finish()
}

// sendHalf sends half of an upload, and waits until the server reads it. finish sends the
// rest, and waits for the answer.
func sendHalf(t *testing.T, d *daemon.Daemon) (finish func()) {
	t.Helper()
	whole := form(t, d.API, "dev", file(archive.Build(archive.Entry{Name: "a/1/a", Data: archive.Noise(1, 4<<10)})))
	content, err := io.ReadAll(whole.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, rest := io.Pipe()
	r := request(t, http.MethodPost, whole.URL.String(), "dev", body)
	r.Header = whole.Header
	answered := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			err = resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
		}
		answered <- err
	}()
	write := func(b []byte) {
		if _, err := rest.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	write(content[:len(content)/2])
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !underWay(t, d) {
		<-again.C
	}
	return func() {
		write(content[len(content)/2:])
		if err := errors.Join(rest.Close(), <-answered); err != nil {
			t.Error(err)
		}
	}
}

// underWay reports whether an upload is being received.
func underWay(t *testing.T, d *daemon.Daemon) bool {
	t.Helper()
	all, err := d.Metrics(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return all[`spillway_uploads_in_flight{stage="receiving"}`] > 0
}

// within returns a context that ends long after any test should have.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (c *contract) probes(t *testing.T, d *daemon.Daemon) {
	for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__", "/__version__", "/__error__"} {
		c.send(t, request(t, http.MethodGet, d.API+path, "", nil))
		c.send(t, request(t, http.MethodPost, d.API+path, "", nil)) // 405
	}
	c.send(t, request(t, http.MethodGet, d.API+"/__error__", "dev", nil))
	c.send(t, request(t, http.MethodGet, d.Admin+"/metrics", "", nil))
	crossSite := request(t, http.MethodGet, d.Admin+"/metrics", "", nil)
	crossSite.Header.Set("Sec-Fetch-Site", "cross-site")
	c.send(t, crossSite)
	rebound := request(t, http.MethodGet, d.Admin+"/metrics", "", nil)
	rebound.Host = "attacker.example"
	c.send(t, rebound)
}

func (c *contract) noStore(t *testing.T, d *daemon.Daemon) {
	c.send(t, form(t, d.API, "dev", file(archive.Build(archive.Entry{Name: symbols, Data: []byte("MODULE")}))))
	c.send(t, request(t, http.MethodGet, d.API+"/__heartbeat__", "", nil))
}

// unchecked sends a token that only a server knows that cannot be asked.
func (c *contract) unchecked(t *testing.T, d *daemon.Daemon) {
	c.send(t, form(t, d.API, "other", file(archive.Build(archive.Entry{Name: symbols}))))
	c.send(t, request(t, http.MethodPost, d.API+"/upload/auth_info/", "other", nil))
}

func (c *contract) shutdown(t *testing.T, d *daemon.Daemon) {
	finish := sendHalf(t, d)
	if err := d.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AwaitLog(within(t), "shutting down"); err != nil {
		t.Fatal(err)
	}
	c.send(t, request(t, http.MethodGet, d.API+"/__lbheartbeat__", "", nil))
	c.send(t, form(t, d.API, "dev", file(archive.Build(archive.Entry{Name: "a/1/b"}))))
	finish()
	if status, err := d.Wait(within(t)); err != nil || status != 0 {
		t.Errorf("exit status %d, error %v", status, err)
	}
}
