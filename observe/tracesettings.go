package observe

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// traceVariable returns a standard variable of OpenTelemetry; empty if it is not set.
func traceVariable(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// exporterVariable returns a variable of the exporter: that for traces or, if it is not set,
// that for everything. name is the one that is set.
func exporterVariable(suffix string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_TRACES_" + suffix
	if value = traceVariable(name); value == "" {
		name = "OTEL_EXPORTER_OTLP_" + suffix
		value = traceVariable(name)
	}
	return name, value
}

// traceEndpoint returns the URL that spans are sent to; nil if the variables name none, or
// turn traces off. It checks what the SDK and its exporter would misread without a word. They
// read all other variables by themselves. No error quotes the URL.
func traceEndpoint() (*url.URL, error) {
	exporter := traceVariable("OTEL_TRACES_EXPORTER")
	name, value := exporterVariable("ENDPOINT")
	switch {
	case strings.EqualFold(traceVariable("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return nil, nil
	case value == "" && exporter == "":
		return nil, nil
	case value == "":
		return nil, errors.New("OTEL_TRACES_EXPORTER: it needs OTEL_EXPORTER_OTLP_ENDPOINT, which is not set")
	case exporter != "" && exporter != "otlp":
		return nil, errors.New("OTEL_TRACES_EXPORTER: only otlp and none are supported")
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%s: it is not a URL such as http://collector.example.com:4318", name)
	case u.User != nil || u.RawQuery != "":
		return nil, fmt.Errorf("%s: it contains a user, password or query. Put credentials into OTEL_EXPORTER_OTLP_HEADERS", name)
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1/traces")
	}
	if name, value := exporterVariable("PROTOCOL"); value != "" && value != "http/protobuf" {
		return nil, fmt.Errorf("%s: only http/protobuf is supported", name)
	}
	return u, nil
}

// takesOverTraces reports whether the traces of clients go on here. Nothing is passed on, so
// baggage makes no difference.
func takesOverTraces() bool {
	list := traceVariable("OTEL_PROPAGATORS")
	return list == "" || slices.Contains(strings.Split(strings.ReplaceAll(list, " ", ""), ","), "tracecontext")
}

// setupErrors keeps what the SDK and its exporter report about variables while they are set
// up. They only report it, and go on without. It is an otel.ErrorHandler as well.
type setupErrors struct {
	logr.LogSink // nil: loggers of the SDK have no names and values

	mu   sync.Mutex
	errs []error
}

// Init implements [logr.LogSink].
func (*setupErrors) Init(logr.RuntimeInfo) {}

// Enabled implements [logr.LogSink].
func (*setupErrors) Enabled(int) bool { return true }

// Info implements [logr.LogSink]. The SDK names a variable with its value, which may be a
// secret.
func (s *setupErrors) Info(_ int, message string, about ...any) {
	if len(about) == 0 {
		return
	}
	if name, _ := about[0].(string); strings.HasPrefix(name, "OTEL_") {
		s.Handle(fmt.Errorf("%s: %s", name, message))
	}
}

// Error implements [logr.LogSink].
func (s *setupErrors) Error(err error, message string, _ ...any) {
	if _, ok := errors.AsType[url.EscapeError](err); ok {
		err = errors.New("invalid URL escape") // it quotes the place
	}
	s.Handle(fmt.Errorf("%s: %w", message, err))
}

// Handle implements otel.ErrorHandler.
func (s *setupErrors) Handle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// first returns the first error; nil if there is none.
func (s *setupErrors) first() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errs) == 0 {
		return nil
	}
	return fmt.Errorf("a variable OTEL_… cannot be used: %w", s.errs[0])
}
