package deploy

import (
	"io"
	"regexp"
	"testing"
	"time"

	"spillway/settings"
)

const (
	// spillwayIdle is when Spillway closes an idle connection.
	spillwayIdle = 2 * time.Minute

	// drainDelay is what both proxies ask for.
	drainDelay = "--drain-delay=10s"
)

// TestTimeoutsFit: the timeouts of nginx and HAProxy fit Spillway's defaults. `make
// balancers` runs both.
func TestTimeoutsFit(t *testing.T) {
	parsed, _, err := settings.Parse([]string{"serve", drainDelay}, func(name string) string {
		return map[string]string{"SPILLWAY_S3_BUCKET": "b"}[name]
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s := parsed.Serve
	for _, c := range []struct {
		file, timeout string // a pattern with the time
		least, most   time.Duration
	}{
		{"nginx/spillway.conf", `proxy_send_timeout (\w+);`, s.UploadTimeout + time.Minute, time.Hour},
		{"nginx/spillway.conf", `proxy_read_timeout (2\w+);`, s.UploadTimeout + time.Minute, time.Hour},
		{"nginx/spillway.conf", `lingering_time (\w+);`, s.UploadTimeout + time.Minute, time.Hour},
		{"nginx/spillway.conf", `lingering_timeout (\w+);`, s.IdleTimeout, time.Hour},
		{"nginx/spillway.conf", `client_body_timeout (\w+);`, s.IdleTimeout + time.Second, time.Hour},
		{"nginx/spillway.conf", `keepalive_timeout (\w+);`, 0, spillwayIdle - time.Second},
		{"haproxy/haproxy.cfg", `timeout client (\w+)\n`, s.UploadTimeout + time.Minute, time.Hour},
		{"haproxy/haproxy.cfg", `timeout server (\w+)\n`, s.UploadTimeout + time.Minute, time.Hour},
		// Two checks fail before HAProxy sends no more: one within inter, the other within fastinter.
		{"haproxy/haproxy.cfg", `check inter (\w+) fastinter 500ms downinter 2s fall 2 `, 0, s.DrainDelay / 2},
	} {
		text := readFile(t, c.file)
		found := regexp.MustCompile(c.timeout).FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Errorf("%s: %s matches %q", c.file, c.timeout, found)
			continue
		}
		if d, err := time.ParseDuration(found[0][1]); err != nil || d < c.least || d > c.most {
			t.Errorf("%s: %s, want %v to %v", c.file, found[0][0], c.least, c.most)
		}
		if !regexp.MustCompile(`# .*` + drainDelay + `\b`).MatchString(text) {
			t.Errorf("%s does not ask for %s", c.file, drainDelay)
		}
	}
}
