package e2e

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/otlpserver"
)

// scrape gets the metrics as a client with that Accept header does.
func scrape(t *testing.T, admin, accept string) (contentType, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(client.Within(t), http.MethodGet, admin+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	return resp.Header.Get("Content-Type"), string(body)
}

// openMetrics returns the metrics in the format that has exemplars.
func openMetrics(t *testing.T, admin string) string {
	t.Helper()
	_, text := scrape(t, admin, "application/openmetrics-text;version=1.0.0")
	return text
}

// TestExemplars: the durations of uploads and of requests to S3 have the last trace of each
// bucket as an exemplar, in OpenMetrics, which Prometheus asks for. The text format, which has
// no exemplars, is for those who do not.
func TestExemplars(t *testing.T) {
	t.Parallel()
	o := otlpserver.Start(t)
	d := start(t, exportTo(o), "--dev", "--dev-s3-listen=127.0.0.1:0")
	zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)})
	if a := sendTraced(t, d.API, zip); a.Status != http.StatusCreated {
		t.Fatalf("%+v", a)
	}
	awaitTrace(t, o, 1) // after the metrics
	exemplar := regexp.MustCompile(`(?m)^(spillway_\w+)_bucket\{\w+="(\w+)",le="[^"]+"\} \d+ # \{trace_id="(\w+)"\} `)
	for _, c := range []struct{ name, accept, contentType string }{
		{"Prometheus 2.42", "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "application/openmetrics-text"},
		{"Prometheus 3", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", "application/openmetrics-text"},
		{"the old text format", "text/plain;version=0.0.4", "text/plain"},
		{"a browser", "text/html,*/*;q=0.8", "text/plain"},
		{"curl", "", "text/plain"},
	} {
		contentType, text := scrape(t, d.Admin, c.accept)
		if !strings.HasPrefix(contentType, c.contentType+";") {
			t.Errorf("%s gets %s", c.name, contentType)
		}
		found := map[string]string{}
		for _, line := range exemplar.FindAllStringSubmatch(text, -1) {
			found[line[1]+" "+line[2]] = line[3]
		}
		if c.contentType == "text/plain" {
			if strings.Contains(text, "trace_id") {
				t.Errorf("%s gets exemplars", c.name)
			}
			continue
		}
		for _, of := range []string{"spillway_upload_duration_seconds stored", "spillway_s3_request_duration_seconds PutObject"} {
			if found[of] != clientTrace {
				t.Errorf("%s: the exemplar of %s is %q", c.name, of, found[of])
			}
		}
		if !strings.HasSuffix(text, "# EOF\n") || strings.Contains(text, "_total_total") {
			t.Errorf("%s: not OpenMetrics: %s", c.name, text)
		}
	}
}
