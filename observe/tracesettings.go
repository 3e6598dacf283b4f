package observe

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// traceSettings are the standard variables of OpenTelemetry ("Environment Variable
// Specification", "OTLP Exporter Configuration"). The SDK reads those of the resource and the
// limits of spans by itself. It would only log the others that are invalid, with their value.
type traceSettings struct {
	endpoint *url.URL
	header   http.Header   // of requests to the endpoint
	timeout  time.Duration // of one request
	gzip     bool
	tls      *tls.Config
	sampler  sdktrace.Sampler
	takeOver bool // the traces of clients

	queue         int // spans
	batch         int // spans of a request, at most
	delay         time.Duration
	exportTimeout time.Duration // of a batch, with all attempts

	ignored []string // variables that are set and have no effect
}

// maxTraceQueue bounds OTEL_BSP_MAX_QUEUE_SIZE: a span takes some 2 KB.
const maxTraceQueue = 8192

// traceVariables reads variables.
type traceVariables func(name string) string

// get returns the value of a variable; empty if it is not set.
func (v traceVariables) get(name string) string { return strings.TrimSpace(v(name)) }

// exporter returns a variable of the exporter: that for traces or, if it is not set, that
// for everything. name is the one that is set.
func (v traceVariables) exporter(suffix string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_TRACES_" + suffix
	if value = v.get(name); value == "" {
		name = "OTEL_EXPORTER_OTLP_" + suffix
		value = v.get(name)
	}
	return name, value
}

// readTraceSettings returns nil if the variables name no endpoint, or turn traces off.
func readTraceSettings(getenv func(string) string) (*traceSettings, error) {
	v := traceVariables(getenv)
	exporter := v.get("OTEL_TRACES_EXPORTER")
	name, endpoint := v.exporter("ENDPOINT")
	switch {
	case strings.EqualFold(v.get("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return nil, nil
	case endpoint == "" && exporter == "":
		return nil, nil
	case endpoint == "":
		return nil, errors.New("OTEL_TRACES_EXPORTER: it needs OTEL_EXPORTER_OTLP_ENDPOINT, which is not set")
	case exporter != "" && exporter != "otlp":
		return nil, errors.New("OTEL_TRACES_EXPORTER: only otlp and none are supported")
	}
	s := &traceSettings{takeOver: true}
	if err := s.setEndpoint(name, endpoint); err != nil {
		return nil, err
	}
	for _, read := range []func(traceVariables) error{s.readProtocol, s.readHeaders, s.readTLS, s.readNumbers, s.readSampler} {
		if err := read(v); err != nil {
			return nil, err
		}
	}
	s.readPropagators(v)
	for _, name := range []string{
		"OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE", "OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
		"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_LOGS_EXPORTER", "OTEL_LOG_LEVEL", "OTEL_METRICS_EXPORTER",
	} {
		if value := v.get(name); value != "" && value != "none" {
			s.ignored = append(s.ignored, name)
		}
	}
	return s, nil
}

// setEndpoint takes the URL for traces as it is, and the general one as the base of /v1/traces.
func (s *traceSettings) setEndpoint(name, value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%s: it is not a URL such as http://collector.example.com:4318", name)
	case u.User != nil:
		return fmt.Errorf("%s: it contains a user or password. Put credentials into OTEL_EXPORTER_OTLP_HEADERS", name)
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1/traces")
	}
	s.endpoint = u
	return nil
}

func (s *traceSettings) readProtocol(v traceVariables) error {
	if name, value := v.exporter("PROTOCOL"); value != "" && value != "http/protobuf" {
		return fmt.Errorf("%s: only http/protobuf is supported", name)
	}
	switch name, value := v.exporter("COMPRESSION"); value {
	case "", "none":
	case "gzip":
		s.gzip = true
	default:
		return fmt.Errorf("%s: only gzip and none are supported", name)
	}
	return nil
}

// fieldName matches the names of header fields.
var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// readHeaders reads a list such as "api-key=SECRET,other=value", whose values are
// percent-encoded. No error quotes a value.
func (s *traceSettings) readHeaders(v traceVariables) error {
	s.header = http.Header{}
	name, list := v.exporter("HEADERS")
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		field, encoded, found := strings.Cut(pair, "=")
		field = strings.TrimSpace(field)
		value, err := url.PathUnescape(strings.TrimSpace(encoded))
		if !found || err != nil || !fieldName.MatchString(field) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%s: it is not a list such as api-key=SECRET,other=value", name)
		}
		s.header.Set(field, value)
	}
	return nil
}

func (s *traceSettings) readTLS(v traceVariables) error {
	s.tls = &tls.Config{}
	if name, file := v.exporter("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: there is no certificate (PEM) in the file", name)
		}
	}
	name, certificate := v.exporter("CLIENT_CERTIFICATE")
	keyName, key := v.exporter("CLIENT_KEY")
	if (certificate == "") != (key == "") {
		return fmt.Errorf("%s and %s must be set together", name, keyName)
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

func (s *traceSettings) readNumbers(v traceVariables) error {
	timeout, value := v.exporter("TIMEOUT")
	numbers := []struct {
		name, value        string
		usual, least, most int
		set                func(int)
	}{
		{timeout, value, 10_000, 1, 600_000, func(n int) { s.timeout = time.Duration(n) * time.Millisecond }},
		{"OTEL_BSP_EXPORT_TIMEOUT", "", 30_000, 1, 600_000, func(n int) { s.exportTimeout = time.Duration(n) * time.Millisecond }},
		{"OTEL_BSP_SCHEDULE_DELAY", "", 5000, 1, 600_000, func(n int) { s.delay = time.Duration(n) * time.Millisecond }},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "", sdktrace.DefaultMaxQueueSize, 1, maxTraceQueue, func(n int) { s.queue = n }},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "", sdktrace.DefaultMaxExportBatchSize, 1, maxTraceQueue, func(n int) { s.batch = n }},
	}
	for _, n := range numbers {
		text, number := cmp.Or(n.value, v.get(n.name)), n.usual
		if text != "" {
			var err error
			if number, err = strconv.Atoi(text); err != nil || number < n.least || number > n.most {
				return fmt.Errorf("%s: %q is not a number from %d to %d", n.name, text, n.least, n.most)
			}
		}
		n.set(number)
	}
	s.batch = min(s.batch, s.queue)
	for _, name := range []string{
		"OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
	} {
		if text := v.get(name); text != "" {
			if _, err := strconv.Atoi(text); err != nil {
				return fmt.Errorf("%s: %q is not a number", name, text)
			}
		}
	}
	return nil
}

func (s *traceSettings) readSampler(v traceVariables) error {
	name, argument := cmp.Or(v.get("OTEL_TRACES_SAMPLER"), "parentbased_always_on"), v.get("OTEL_TRACES_SAMPLER_ARG")
	kind, parentBased := strings.CutPrefix(name, "parentbased_")
	switch kind {
	case "always_on":
		s.sampler = sdktrace.AlwaysSample()
	case "always_off":
		s.sampler = sdktrace.NeverSample()
	case "traceidratio":
		ratio, err := strconv.ParseFloat(cmp.Or(argument, "1"), 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) { // NaN is neither
			return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is not a number from 0 to 1", argument)
		}
		s.sampler = sdktrace.TraceIDRatioBased(ratio)
	default:
		return fmt.Errorf("OTEL_TRACES_SAMPLER: %q is not supported: use always_on, always_off, traceidratio, or one of these after parentbased_", name)
	}
	if parentBased {
		s.sampler = sdktrace.ParentBased(s.sampler)
	}
	return nil
}

// readPropagators reads how traces are taken over from clients: tracecontext is W3C's
// traceparent. Nothing is passed on, so baggage makes no difference.
func (s *traceSettings) readPropagators(v traceVariables) {
	list := v.get("OTEL_PROPAGATORS")
	if list == "" {
		return
	}
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	s.takeOver = slices.Contains(names, "tracecontext")
	if slices.ContainsFunc(names, func(n string) bool { return n != "tracecontext" && n != "baggage" && n != "none" }) {
		s.ignored = append(s.ignored, "OTEL_PROPAGATORS (all but tracecontext)")
	}
}
