package observe

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
)

// An upload of 20,000 files makes 40,000 requests. Of those with one name, these get a
// span of their own. The others are only counted.
const (
	firstCalls  = 100 // the first ones
	failedCalls = 50  // of those that failed later
	slowCalls   = 10  // the slowest of the others
)

// A call is a request on behalf of an upload.
type call interface {
	name() string // of its span
	times() (began time.Time, took time.Duration)
	failure() string // empty if it has not failed
	attributes() []attribute.KeyValue
}

// calls are the requests of one name.
type calls struct {
	count, failures int // of all
	took            time.Duration

	first, failed, slow []call
}

// add adds a request, and keeps it if it is among those that get a span and room returns
// true.
func (c *calls) add(x call, room func() bool) {
	_, took := x.times()
	hasFailed := x.failure() != ""
	c.count++
	c.took += took
	if hasFailed {
		c.failures++
	}
	switch {
	case len(c.first) < firstCalls:
		c.keep(&c.first, x, room)
	case hasFailed && len(c.failed) < failedCalls:
		c.keep(&c.failed, x, room)
	case len(c.slow) < slowCalls:
		c.keep(&c.slow, x, room)
	default:
		c.replaceFastest(x, took)
	}
}

func (c *calls) keep(in *[]call, x call, room func() bool) {
	if room() {
		*in = append(*in, x)
	}
}

// replaceFastest replaces the fastest of the slow ones, if x took longer.
func (c *calls) replaceFastest(x call, took time.Duration) {
	fastest, least := -1, took
	for i, other := range c.slow {
		if _, t := other.times(); t < least {
			fastest, least = i, t
		}
	}
	if fastest >= 0 {
		c.slow[fastest] = x
	}
}

// all returns those that get a span.
func (c *calls) all() []call {
	return append(append(c.first, c.failed...), c.slow...)
}

// attributes count all requests of a name, for the span of the upload.
func (c *calls) attributes(name string) []attribute.KeyValue {
	prefix := "spillway.requests." + name
	all := []attribute.KeyValue{
		attribute.Int(prefix+".count", c.count),
		attribute.Float64(prefix+".seconds", c.took.Seconds()),
	}
	if c.failures > 0 {
		all = append(all, attribute.Int(prefix+".failed", c.failures))
	}
	if omitted := c.count - len(c.all()); omitted > 0 {
		all = append(all, attribute.Int(prefix+".without_span", omitted))
	}
	return all
}
