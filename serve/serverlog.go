package serve

import (
	"log"
	"strings"
	"time"

	"go.uber.org/zap"

	"spillway/internal/throttle"
)

// repeatInterval is how often a line of one kind is logged if any client can cause it.
const repeatInterval = time.Minute

// serverLogKinds are the kinds of messages that net/http logs, by prefix.
var serverLogKinds = []struct{ prefix, kind string }{
	{"http: TLS handshake error", "tls handshake"},
	{"http: Accept error", "accept"},
	{"http: panic serving", "panic"},
	{"http2:", "http2"},
}

// serverLog is an [io.Writer] for the messages of an HTTP server. Clients without a token
// cause most of them, so it logs one of a kind a minute.
type serverLog struct {
	log     *zap.Logger
	repeats *throttle.Throttle
}

// newServerLog returns a logger for HTTP servers.
func newServerLog(l *zap.Logger, repeats *throttle.Throttle) *log.Logger {
	return log.New(serverLog{l, repeats}, "", 0)
}

// Write logs one message: a line, or a panic with its stack.
func (s serverLog) Write(p []byte) (int, error) {
	text, kind := strings.TrimSpace(string(p)), "other"
	for _, k := range serverLogKinds {
		if strings.HasPrefix(text, k.prefix) {
			kind = k.kind
			break
		}
	}
	s.repeats.Do("server: "+kind, func(omitted int) {
		s.log.Warn("http server", zap.String("kind", kind), zap.String("error", text), zap.Int("omitted", omitted))
	})
	return len(p), nil
}
