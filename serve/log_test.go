package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap"
)

// linesOf returns the text of what write logs.
func linesOf(t *testing.T, format string, write func(*zap.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	log, lines, err := openLog(&out, "debug", format)
	if err != nil {
		t.Fatal(err)
	}
	write(log)
	lines.close(t.Context())
	return out.String()
}

// logged returns an event of each level in a format, decoded.
func logged(t *testing.T, format string) []map[string]any {
	t.Helper()
	out := linesOf(t, format, func(log *zap.Logger) {
		log = log.With(zap.Int64("upload", 7))
		log.Debug("a", zap.Duration("duration", 1500*time.Millisecond))
		log.Info("b", zap.String("text", "line\nbreak \x1b[31m"))
		log.Warn("c")
		log.Error("d", zap.Error(errors.New("broken")))
	})
	var events []map[string]any
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var e map[string]any
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestMozlog(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	fields := []map[string]any{
		{"msg": "a", "upload": 7.0, "duration": 1.5},
		{"msg": "b", "upload": 7.0, "text": "line\nbreak \x1b[31m"},
		{"msg": "c", "upload": 7.0},
		{"msg": "d", "upload": 7.0, "error": "broken"},
	}
	events := logged(t, "mozlog")
	if len(events) != len(fields) {
		t.Fatalf("%d events: %v", len(events), events)
	}
	for i, severity := range []float64{7, 6, 4, 3} {
		at, ok := events[i]["Timestamp"].(float64)
		if ago := began.Sub(time.Unix(0, int64(at))).Abs(); !ok || ago > time.Minute {
			t.Errorf("Timestamp %v", events[i]["Timestamp"])
		}
		delete(events[i], "Timestamp")
		want := map[string]any{
			"Type": "app.log", "Logger": "spillway", "Hostname": host, "EnvVersion": "2.0", "Pid": float64(os.Getpid()),
			"Severity": severity, "Fields": fields[i],
		}
		if !reflect.DeepEqual(events[i], want) {
			t.Errorf("got %v\nwant %v", events[i], want)
		}
	}
}

func TestJSONLog(t *testing.T) {
	events := logged(t, "json")
	if len(events) != 4 {
		t.Fatalf("%d events: %v", len(events), events)
	}
	for i, level := range []string{"debug", "info", "warn", "error"} {
		if events[i]["level"] != level || events[i]["upload"] != 7.0 {
			t.Errorf("%v", events[i])
		}
		if _, err := time.Parse(time.RFC3339Nano, events[i]["time"].(string)); err != nil {
			t.Error(err)
		}
	}
}

// TestLogsAreHarmless: text from clients cannot control the terminal of whoever reads a log,
// in any format, and stays readable.
func TestLogsAreHarmless(t *testing.T) {
	const hostile = "\x1b[31m\u009b31m\r\n\x07\x7f\u0085\u202etxt.exe\u2066\u2028é"
	for _, format := range []string{"json", "mozlog", "console"} {
		out := linesOf(t, format, func(log *zap.Logger) {
			log.Error("upload", zap.String("at_entry", hostile), zap.Error(errors.New(hostile)), zap.ByteString("stack", []byte(hostile)))
		})
		line := strings.TrimSuffix(out, "\n")
		if strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%s: %q", format, line)
		}
		if !strings.Contains(line, "é") || !strings.Contains(line, `\u009b31m`) {
			t.Errorf("%s: %s", format, line)
		}
	}
}
