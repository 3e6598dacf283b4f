package upload

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"spillway/health"
	"spillway/observe"
	"spillway/testdata/sentryserver"
)

// TestDefectsAreReported checks that a panic in the middle of an upload is answered, and
// reported with its stack and the archive's shape, and that the next upload is accepted.
func TestDefectsAreReported(t *testing.T) {
	sentry := sentryserver.Start(t)
	reporter, err := observe.NewReporter(sentry.DSN, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(c *Config) {
		c.Uploads = observe.NewUploads(observe.UploadsConfig{
			Log: c.Log, Metrics: observe.NewMetrics(health.Version{}), Reporter: reporter, Outcomes: health.NewOutcomes(health.OutcomeConfig{}),
		})
	})
	address := s.serve()
	s.store.onPublish = func() error { panic("a defect in publishing") }
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != 500 || r.message() != "Internal Server Error" {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
	s.store.onPublish = nil
	if r := s.upload(address, symbolForm(), asDev); r.StatusCode != 201 {
		t.Errorf("the next one: status %d: %s", r.StatusCode, r.body)
	}
	if !reporter.Close(10 * time.Second) {
		t.Error("not all was sent")
	}
	reports := sentry.Events()
	if len(reports) != 1 {
		t.Fatalf("%d reports, want 1: %v", len(reports), reports)
	}
	report, err := json.Marshal(reports[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a defect in publishing", "spillway/upload", `"entries":3`, `"filename":"symbols.zip"`, `"kind":"panic"`} {
		if !strings.Contains(string(report), want) {
			t.Errorf("the report does not say %s: %s", want, report)
		}
	}
	if strings.Contains(sentry.Raw(), "dev@example.com") || strings.Contains(strings.ToLower(sentry.Raw()), "auth-token") {
		t.Error("the report says whose upload it was, or with which token")
	}
}
