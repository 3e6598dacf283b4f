package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/internal/account"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/otlpserver"
	"spillway/testdata/remote"
)

const (
	spanOfUpload = "POST /upload/"

	// A trace of a client.
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
)

// exportTo are the variables with which spans are exported at once.
func exportTo(o *otlpserver.Server) []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + o.URL, "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_SERVICE_NAME=symbols", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test"}
}

// sendTraced sends an archive as a part of the client's trace.
func sendTraced(t *testing.T, api string, zip []byte) client.Answer {
	t.Helper()
	body, contentType := client.Form(zip)
	req, err := http.NewRequestWithContext(client.Within(t), http.MethodPost, api+"/upload/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Auth-Token": {"dev"}, "Content-Type": {contentType}, "Traceparent": {"00-" + clientTrace + "-" + clientSpan + "-01"}}
	a, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trace is the span of an upload, and those below it.
type trace struct {
	otlpserver.Span
	below map[string][]otlpserver.Span // by name
}

// awaitTrace waits for the spans of the n-th upload that has ended.
func awaitTrace(t *testing.T, o *otlpserver.Server, n int) trace {
	t.Helper()
	x := trace{below: make(map[string][]otlpserver.Span)}
	client.Until(t, "the span of an upload, and those of its requests", func() bool {
		var uploads []otlpserver.Span
		all := o.Spans()
		for _, s := range all {
			if s.Name == spanOfUpload {
				uploads = append(uploads, s)
			}
		}
		if len(uploads) < n {
			return false
		}
		x.Span = uploads[n-1]
		clear(x.below)
		for _, s := range all {
			if s.Parent == x.ID {
				x.below[s.Name] = append(x.below[s.Name], s)
			}
		}
		for name, count := range x.counts() {
			if int64(len(x.below[name])) != count {
				return false
			}
		}
		return true
	})
	return x
}

// counts are how many requests of each name the upload's span has counted.
func (x *trace) counts() map[string]int64 {
	all := make(map[string]int64)
	for key, value := range x.Attributes {
		if name, ok := strings.CutSuffix(strings.TrimPrefix(key, "spillway.requests."), ".count"); ok {
			all[name] = value.(int64)
		}
	}
	return all
}

// want checks the outcome of an upload, that its time account adds up to the time of its
// span, and that the spans below it are within that.
func (x *trace) want(t *testing.T, outcome, reason string, status int64, failed bool) {
	t.Helper()
	if x.Attributes["spillway.outcome"] != outcome || x.Attributes["spillway.reason"] != reason || x.Attributes["http.response.status_code"] != status || x.Failed != failed {
		t.Errorf("want %s (%s) with status %d: %+v", outcome, reason, status, x.Span)
	}
	if x.Resource["service.name"] != "symbols" || x.Resource["deployment.environment"] != "test" {
		t.Errorf("the resource is %v", x.Resource)
	}
	seconds := x.Attributes["spillway.worked"].(float64)
	for _, label := range account.Names() {
		if label != account.OnCPU.String() {
			seconds += x.Attributes["spillway.waited_"+label].(float64)
		}
	}
	if math.Abs(seconds-x.Took.Seconds()) > 1e-6 {
		t.Errorf("the account has %v s, the span %v", seconds, x.Took)
	}
	for name, all := range x.below {
		for _, s := range all {
			if early, late := x.Began.Sub(s.Began), s.Began.Add(s.Took).Sub(x.Began.Add(x.Took)); s.Trace != x.Trace || s.Kind != "CLIENT" || early > time.Millisecond || late > time.Millisecond {
				t.Errorf("%s begins %v before the upload and ends %v after it: %+v", name, early, late, s)
			}
		}
	}
}

// wantBelow checks how many spans of requests there are.
func (x *trace) wantBelow(t *testing.T, want map[string]int) {
	t.Helper()
	got := make(map[string]int)
	for name, all := range x.below {
		got[name] = len(all)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("spans of requests: %v, want %v", got, want)
	}
}

// TestTraces: however an upload ends, an OTLP endpoint gets its span, with spans for its
// requests to the store and to the host of its archive. The log names the trace.
func TestTraces(t *testing.T) {
	t.Parallel()
	o := otlpserver.Start(t)
	b := newBackend(t)
	args := []string{"--dev", "--s3-endpoint=" + b.Endpoint, "--s3-bucket=" + b.BucketName, "--upload-timeout=2s", "--download-any", "--log-level=debug"}
	d := start(t, append(b.credentials(), exportTo(o)...), args...)
	files := []archive.File{
		{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)},
		{Name: archive.SymbolsName(2) + ".dll", Data: archive.Noise(1, 10<<20)},
	}
	zip := archive.PythonZipfile(files...)

	if a := sendTraced(t, d.API, zip); a.Status != http.StatusCreated {
		t.Fatalf("%+v", a)
	}
	x := awaitTrace(t, o, 1)
	x.want(t, "stored", "", 201, false)
	x.wantBelow(t, map[string]int{"S3.CompleteMultipartUpload": 1, "S3.CreateMultipartUpload": 1, "S3.HeadObject": 2, "S3.PutObject": 1, "S3.UploadPart": 2})
	if x.Trace != clientTrace || x.Parent != clientSpan || x.Attributes["spillway.entries"] != int64(2) || x.Attributes["spillway.kinds.dll.bytes"] != int64(10<<20) {
		t.Errorf("%+v", x.Span)
	}
	put := x.below["S3.PutObject"][0].Attributes
	if put["aws.s3.key"] != "v1/"+files[0].Name || put["aws.s3.bucket"] != b.BucketName || put["http.response.status_code"] != int64(200) || put["spillway.attempts"] != int64(1) {
		t.Errorf("PutObject: %v", put)
	}
	for _, s := range x.below["S3.HeadObject"] {
		if s.Failed || s.Attributes["http.response.status_code"] != int64(404) {
			t.Errorf("HeadObject: %+v", s)
		}
	}
	awaitLog(t, d, `"msg":"upload"`, `"outcome":"stored"`, `"trace_id":"`+clientTrace+`"`)
	awaitLog(t, d, `"msg":"entry verified"`, `"trace_id":"`+clientTrace+`"`)

	bad := bytes.Clone(archive.PythonZipfile(archive.File{Name: archive.SymbolsName(3), Data: archive.Noise(3, 20_000)}))
	bad[1000] ^= 1
	client.MustSend(t, d.API, "dev", bad)
	x = awaitTrace(t, o, 2)
	x.want(t, "refused", "archive", 400, false)
	x.wantBelow(t, map[string]int{"S3.HeadObject": 1})

	client.MustSend(t, d.API, "nobody's", zip) // has none

	ctx, end := context.WithCancel(t.Context())
	defer end()
	if _, err := client.Send(client.Within(t), d.API, "dev", stalls{bytes.NewReader(zip[:len(zip)/2]), ctx}); err != nil {
		t.Fatal(err)
	}
	x = awaitTrace(t, o, 3)
	x.want(t, "timed out", "total", 503, true)
	if waited := x.Attributes["spillway.waited_client"].(float64); waited < 1 || x.Message == "" {
		t.Errorf("%+v", x.Span)
	}
	awaitLog(t, d, `"outcome":"timed out"`, `"trace_id":"`+x.Trace+`"`)

	if _, err := client.Send(client.Within(t), d.API, "dev", io.MultiReader(bytes.NewReader(zip[:len(zip)/2]), failing{errClientGone})); !errors.Is(err, errClientGone) {
		t.Fatal(err)
	}
	x = awaitTrace(t, o, 4)
	x.want(t, "client gone", "", 400, false)

	wantMetrics(t, d.Admin, `spillway_trace_spans_total{result="dropped"} 0`, `spillway_trace_spans_total{result="failed"} 0`)
	if err := d.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantExit(t, d, statusDone)
}

// TestTracesByURL: each request for an archive has a span, with its host and without the rest
// of its URL.
func TestTracesByURL(t *testing.T) {
	t.Parallel()
	o := otlpserver.Start(t)
	d := start(t, exportTo(o), "--dev", "--dev-s3-listen=127.0.0.1:0", "--download-any")
	zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 200_000)})
	file := &remote.File{Content: zip, Header: remote.StrongETag(), Breaks: []int{len(zip) / 2}}
	server := remote.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			http.Redirect(w, r, "/second/x.zip?sesame=2", http.StatusFound)
			return
		}
		file.ServeHTTP(w, r)
	}), false)
	if a, err := client.SendURL(client.Within(t), d.API, "dev", server.URL+"/first?sesame=1"); err == nil && a.Status != http.StatusBadRequest {
		t.Errorf("%+v", a) // its path names no archive
	}
	if a, err := client.SendURL(client.Within(t), d.API, "dev", server.URL+"/second/x.zip?sesame=3"); err != nil || a.Status != http.StatusCreated {
		t.Fatalf("%+v, %v", a, err)
	}
	x := awaitTrace(t, o, 2)
	x.want(t, "stored", "", 201, false)
	x.wantBelow(t, map[string]int{"GET": 2, "S3.HeadObject": 1, "S3.PutObject": 1})
	first, second := x.below["GET"][0], x.below["GET"][1]
	if !first.Failed || first.Attributes["error.type"] != "the connection was closed" || second.Failed || second.Attributes["error.type"] != nil {
		t.Errorf("%+v, then %+v", first, second)
	}
	received := first.Attributes["spillway.received_bytes"].(int64) + second.Attributes["spillway.received_bytes"].(int64)
	if host := first.Attributes["server.address"]; host != "127.0.0.1" || x.Attributes["spillway.download_requests"] != int64(2) || x.Attributes["spillway.download_bytes"] != received {
		t.Errorf("%v, %d bytes; %+v", host, received, x.Span)
	}
	if raw := o.Raw(); strings.Contains(raw, "sesame") || strings.Contains(raw, "/second") {
		t.Error("spans have more of the URL than its host")
	}
}

// TestTracesOfAFailingStore: the spans say which operation failed, with S3's code.
func TestTracesOfAFailingStore(t *testing.T) {
	t.Parallel()
	o := otlpserver.Start(t)
	b := newBackend(t)
	d := start(t, append([]string{"AWS_ACCESS_KEY_ID=" + b.AccessKey, "AWS_SECRET_ACCESS_KEY=wrong"}, exportTo(o)...),
		"--dev", "--s3-endpoint="+b.Endpoint, "--s3-bucket="+b.BucketName)
	zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)})
	if a := client.MustSend(t, d.API, "dev", zip); a.Status != http.StatusServiceUnavailable {
		t.Fatalf("%+v", a)
	}
	x := awaitTrace(t, o, 1)
	x.want(t, "failed", "store", 503, true)
	head := x.below["S3.HeadObject"]
	if len(head) != 1 || !head[0].Failed || head[0].Attributes["http.response.status_code"] != int64(403) || x.Attributes["spillway.store_error"] != "HeadObject: "+head[0].Attributes["error.type"].(string) {
		t.Errorf("%+v; %+v", head, x.Span)
	}
}

// TestTracesGoNowhere: an endpoint that hangs, is down or fails delays neither uploads nor
// probes nor the exit. What is lost is counted and logged.
func TestTracesGoNowhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		url    string // empty: the server's
		logged string
	}{
		"hangs": {otlpserver.Hang, "", "some spans did not reach their endpoint in time"},
		"fails": {otlpserver.Status(http.StatusInternalServerError), "", "spans were not exported"},
		"down":  {nil, "http://127.0.0.1:1", "spans were not exported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := otlpserver.Start(t)
			o.Answer(c.answer)
			variables := append(exportTo(o), "OTEL_EXPORTER_OTLP_TIMEOUT=60000")
			if c.url != "" {
				variables = append(variables, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.url)
			}
			d := start(t, variables, "--dev", "--dev-s3-listen=127.0.0.1:0")
			zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)})
			for range 5 {
				if a := client.MustSend(t, d.API, "dev", zip); a.Status != http.StatusCreated {
					t.Fatalf("%+v", a)
				}
			}
			if h := client.GetHeartbeat(t, d.API); h.Status != http.StatusOK {
				t.Errorf("%+v", h)
			}
			began := time.Now()
			if err := d.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wantExit(t, d, statusDone)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the exit takes %v", took)
			}
			awaitLog(t, d, `"msg":"`+c.logged)
		})
	}
}

// TestTracesAreOff: without an endpoint, nothing is traced, whatever a client asks for.
func TestTracesAreOff(t *testing.T) {
	t.Parallel()
	o := otlpserver.Start(t)
	for _, variables := range [][]string{nil, append(exportTo(o), "OTEL_SDK_DISABLED=true")} {
		d := start(t, variables, "--dev", "--dev-s3-listen=127.0.0.1:0")
		zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)})
		if a := sendTraced(t, d.API, zip); a.Status != http.StatusCreated {
			t.Fatalf("%+v", a)
		}
		awaitLog(t, d, `"msg":"upload"`)
		if text := openMetrics(t, d.Admin); strings.Contains(text, "trace_id") {
			t.Error("the metrics have exemplars")
		}
		if err := d.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		wantExit(t, d, statusDone)
		if log := d.Log(); strings.Contains(log, "trace") {
			t.Errorf("the log speaks of traces: %s", log)
		}
	}
	if n := o.Requests(); n != 0 {
		t.Errorf("%d requests to the endpoint", n)
	}
}
