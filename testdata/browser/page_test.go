// Package browser drives the live page in a headless Chromium, while uploads go
// on.
package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
)

// screenshotVariable names the file that the page is drawn into, if any.
const screenshotVariable = "SPILLWAY_SCREENSHOT"

// page is a browser's tab with the live page.
type page struct {
	context.Context

	mu       sync.Mutex
	problems []string // what the console says is wrong
}

// open opens the page in a browser of its own, which ends with the test.
func open(t *testing.T, url string) *page {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // it opens a page of ours, and may run as root
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 1090),
	)
	allocator, release := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(release)
	tab, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	p := &page{Context: tab}
	if err := chromedp.Listen(tab, p.listen); err != nil {
		t.Fatal(err)
	}
	call(t, p, log.Enable, cdp.Empty{})
	p.do(t, chromedp.Navigate(url))
	p.await(t, "events", `document.querySelector("#connection")?.dataset.state == "live"`)
	return p
}

// listen keeps what the console says is wrong, violations of the page's policy
// included.
func (p *page) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			problem = fmt.Sprint("console: ", e.Args)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if problem != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.problems = append(p.problems, problem)
	}
}

func (p *page) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(p, actions...); err != nil {
		t.Fatal(err)
	}
}

// call sends the browser a command.
func call[P, R any](t *testing.T, p *page, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(p, command, params); err != nil {
		t.Fatal(err)
	}
}

// await waits until a JavaScript expression is true.
func (p *page) await(t *testing.T, what, expression string) {
	t.Helper()
	poll := chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingTimeout(20*time.Second), chromedp.WithPollingInterval(50*time.Millisecond))
	if err := chromedp.Do(p, poll); err != nil {
		body, _ := chromedp.Run(p, chromedp.Evaluate[string](`document.body.innerText`))
		t.Fatalf("%s: %v; the page says:\n%s", what, err, body)
	}
}

// sending is an upload of which the test decides how much is sent.
type sending struct {
	whole []byte // the body
	sent  int
	pipe  *io.PipeWriter
	ended chan error
}

// begin begins to upload an archive.
func begin(t *testing.T, api, token, filename string, zip []byte) *sending {
	t.Helper()
	return beginWith(t, api, token, "upload-symbols/0.3.0", filename, zip)
}

// beginWith is begin with a user agent.
func beginWith(t *testing.T, api, token, agent, filename string, zip []byte) *sending {
	t.Helper()
	var whole bytes.Buffer
	form := multipart.NewWriter(&whole)
	file, err := form.CreateFormFile("file", filename)
	if err == nil {
		_, err = file.Write(zip)
	}
	if err := errors.Join(err, form.Close()); err != nil {
		t.Fatal(err)
	}
	body, pipe := io.Pipe()
	s := &sending{whole: whole.Bytes(), pipe: pipe, ended: make(chan error, 1)}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/upload/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(whole.Len())
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Auth-Token", token)
	req.Header.Set("User-Agent", agent)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			err = errors.Join(err, resp.Body.Close())
		}
		s.ended <- err
	}()
	return s
}

// upTo sends on, up to that share of the body.
func (s *sending) upTo(t *testing.T, share float64) {
	t.Helper()
	to := int(share * float64(len(s.whole)))
	if _, err := s.pipe.Write(s.whole[s.sent:to]); err != nil {
		t.Fatal(err)
	}
	s.sent = to
}

// finish sends the rest and waits for the answer.
func (s *sending) finish(t *testing.T) {
	t.Helper()
	s.upTo(t, 1)
	if err := errors.Join(s.pipe.Close(), <-s.ended); err != nil {
		t.Fatal(err)
	}
}

// symbols is an archive of some symbol files.
func symbols(seed uint64, files, size int) []byte {
	var all []archive.File
	for n := range files {
		name := fmt.Sprintf("lib%d.so/%032X/lib%d.so", n, seed*1000+uint64(n), n)
		all = append(all, archive.File{Name: name + ".sym", Data: archive.Symbols(seed+uint64(n), size)})
		if n%3 == 0 {
			all = append(all, archive.File{Name: name + ".dbg.gz", Data: archive.Noise(seed+uint64(n), size/4)})
		}
	}
	return archive.PythonZipfile(all...)
}

func startService(t *testing.T) *daemon.Daemon {
	t.Helper()
	folder := t.TempDir()
	t.Chdir("../..") // the program's module
	binary, err := daemon.Build(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Start(t.Context(), binary, nil, "--dev", "--log-format=json", "--listen=127.0.0.1:0", "--dev-s3-listen=127.0.0.1:0")
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

// TestLivePage follows an upload on the page, from its first bytes to its end.
func TestLivePage(t *testing.T) {
	d := startService(t)
	// Some that have been before.
	for n := range 6 {
		begin(t, d.API, []string{"dev", "devtry"}[n%2], fmt.Sprintf("build-%d.zip", n), symbols(uint64(n), 3+n, 200_000)).finish(t)
	}
	begin(t, d.API, "dev", "hostile<img src=x onerror=alert(1)>.zip", []byte("this is no archive")).finish(t)
	for range 3 {
		beginWith(t, d.API, "nobody-build-7", "curl/8.5.0 <b>", "unknown.zip", symbols(1, 1, 1000)).finish(t)
	}

	p := open(t, d.Admin+"/")
	p.await(t, "what was before", `document.querySelectorAll("#recent [data-number][data-outcome=stored]").length == 6 && document.querySelectorAll("#recent [data-number][data-outcome=refused]").length == 1`)
	p.await(t, "who sent it", `[...document.querySelectorAll("#recent [data-number] .who")].filter(w => w.innerText == "127.0.0.1\nupload-symbols/0.3.0").length == 7`)
	p.await(t, "the refused token", `["API Token not matched", "127.0.0.1", "<b>", "6382b3cc", "3"].every((text) => document.querySelector("#refusals tbody").innerText.includes(text)) && document.querySelectorAll("#refusals tbody tr").length == 1`)

	// The store was asked at the start, not by the page.
	p.await(t, "all checks", `["storage", "uploads", "spill", "memory", "janitor", "files", "log", "tokens"].every((name) => document.querySelector("#checks").innerText.includes(name)) && !document.querySelector("#checks [data-check=storage]")`)

	uploads := []*sending{
		begin(t, d.API, "dev", "target.crashreporter-symbols.zip", symbols(50, 20, 600_000)),
		begin(t, d.API, "dev", "nightly-symbols.zip", symbols(90, 12, 500_000)),
		begin(t, d.API, "devtry", "try-symbols.zip", symbols(130, 12, 300_000)),
	}
	const progress = `[...document.querySelectorAll("#uploads [data-upload]")].map(u => { const p = u.querySelector("progress, [role=progressbar]"); return p.matches("progress") ? 100 * p.value / p.max : Number(p.getAttribute("aria-valuenow")); })`
	for step := 1; step <= 4; step++ {
		for n, u := range uploads {
			u.upTo(t, float64(step)*(0.2-0.05*float64(n)))
		}
		p.await(t, "progress", fmt.Sprintf(`(() => { const all = %s; return all.length == 3 && Math.max(...all) >= %d && Math.max(...all) < %d; })()`, progress, 20*step-3, 20*step+5))
	}
	p.await(t, "the account of an upload under way", `[...document.querySelectorAll("#uploads [data-upload] .account [data-label]")].filter(l => l.dataset.label == "client" && Number(l.dataset.seconds) > 0).length == 3`)
	p.await(t, "the plots", `document.querySelectorAll("#plots svg path, #plots svg polyline").length >= 4`)
	if file := os.Getenv(screenshotVariable); file != "" {
		p.shoot(t, file)
	}

	for _, u := range uploads {
		u.finish(t)
	}
	p.await(t, "their end", `document.querySelectorAll("#uploads [data-upload]").length == 0 && document.querySelectorAll("#recent [data-number][data-outcome=stored]").length == 9`)
	p.await(t, "the account of one that has ended", `document.querySelectorAll("#recent [data-number][data-outcome=stored] .account [data-label]").length >= 6`)
	p.do(t, chromedp.SendKeys(chromedp.CSS("#search"), "nightly"))
	p.await(t, "the search", `[...document.querySelectorAll("#recent [data-number]")].filter(r => r.checkVisibility()).length == 1`)

	// On a phone nothing is wider than the screen.
	call(t, p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 740, DeviceScaleFactor: 2, Mobile: true})
	p.await(t, "a phone's width", `document.documentElement.scrollWidth <= 360`)
	call(t, p, emulation.ClearDeviceMetricsOverride, cdp.Empty{})

	if err := d.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.await(t, "the end of the service", `document.querySelector("#connection").dataset.state == "lost"`)
	if _, err := d.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		if !strings.Contains(problem, "ERR_CONNECTION_REFUSED") && !strings.Contains(problem, "ERR_INCOMPLETE_CHUNKED_ENCODING") {
			t.Errorf("the console says: %s", problem)
		}
	}
}

// shoot draws the page into a file, as it is in light and in dark.
func (p *page) shoot(t *testing.T, file string) {
	t.Helper()
	for scheme, path := range map[string]string{"light": file, "dark": strings.TrimSuffix(file, ".png") + "-dark.png"} {
		call(t, p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		png, err := chromedp.Run(p, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
