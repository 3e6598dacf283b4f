package observe_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"spillway/health"
	"spillway/internal/outcome"
	"spillway/internal/sender"
	"spillway/internal/throttle"
	"spillway/observe"
)

// refusedBy is an upload from address that is refused for its token.
func refusedBy(uploads *observe.Uploads, id int64, message, address, digest string) {
	who := observe.Sender{Sender: sender.Sender{Address: netip.MustParseAddr(address), RequestID: fmt.Sprint("r", id)}, TokenDigest: digest}
	uploads.Begin(id, who, nil).End(observe.Ended{
		Result: outcome.Result{Outcome: outcome.Refused, Reason: outcome.BadToken}, Status: 403, Message: message, Anonymous: true,
	})
}

// firstMoment returns what a new page shows.
func firstMoment(t *testing.T, i *instance) moment {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); i.Watch(ctx) }()
	server := httptest.NewServer(i)
	defer server.Close()
	defer func() { cancel(); <-watched }()
	_, m := watchPage(t, server.URL)()
	return m
}

// Uploads of one client that are refused for their token with the same message are one row
// of the page, with the last tokens.
func TestRefusalsAreGrouped(t *testing.T) {
	i := newInstance()
	const missing, unknown = "no token", "unknown token"
	for n, c := range []struct{ message, address, digest string }{
		{unknown, "192.0.2.1", "aa"},
		{missing, "192.0.2.1", ""},
		{unknown, "192.0.2.2", "aa"},
		{unknown, "2001:db8::1", "d1"},
		{unknown, "192.0.2.1", "aa"},
		{unknown, "2001:db8:0:0:ffff::2", "d2"},
		{unknown, "2001:db8:0:1::1", "d1"},
		{unknown, "2001:db8::3", "d3"},
		{unknown, "2001:db8::3", "d1"},
		{unknown, "2001:db8::3", "d4"},
		{unknown, "2001:db8::3", "d5"},
	} {
		refusedBy(i.uploads, int64(n), c.message, c.address, c.digest)
	}
	type row struct {
		message, address string
		count            int
		id               int64
		digests          []string
	}
	var got []row
	for _, r := range firstMoment(t, i).Refusals {
		got = append(got, row{r.Message, r.Sender.Address, r.Count, r.ID, r.Digests})
		if r.Status != 403 || r.Sender.RequestID != fmt.Sprint("r", r.ID) || r.Last.Before(r.First) || r.First.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	want := []row{
		{unknown, "2001:db8::3", 6, 10, []string{"d5", "d4", "d1", "d3"}},
		{unknown, "2001:db8:0:1::1", 1, 6, []string{"d1"}},
		{unknown, "192.0.2.1", 2, 4, []string{"aa"}},
		{unknown, "192.0.2.2", 1, 2, []string{"aa"}},
		{missing, "192.0.2.1", 1, 1, nil},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Tokens that are known and refused, because they have expired or may not upload, are on the
// same list.
func TestRefusalsOfKnownTokens(t *testing.T) {
	i := newInstance()
	i.uploads.Begin(1, observe.Sender{}, nil).End(ended(outcome.Refused, outcome.BadToken))
	i.uploads.Begin(2, observe.Sender{}, nil).End(ended(outcome.Refused, outcome.BadArchive))
	m := firstMoment(t, i)
	if len(m.Refusals) != 1 || m.Refusals[0].ID != 1 || len(m.Ended) != 1 || m.Ended[0].ID != 2 || m.Outcomes["refused"] != 2 {
		t.Errorf("%+v", m)
	}
}

// Refusals of one client do not hide those of another one in the log.
func TestRefusalsInTheLog(t *testing.T) {
	core, log := observer.New(zap.DebugLevel)
	uploads := observe.NewUploads(observe.UploadsConfig{
		Log: zap.New(core), Repeats: throttle.New(time.Hour), Metrics: observe.NewMetrics(health.Version{}), Outcomes: health.NewOutcomes(health.OutcomeConfig{}),
	})
	for n := range int64(100) {
		refusedBy(uploads, n, "unknown", fmt.Sprintf("2001:db8::%x", n), fmt.Sprintf("%08x", n))
	}
	refusedBy(uploads, 100, "unknown", "192.0.2.1", "0ddba115")
	var told []any
	for _, line := range log.All() {
		told = append(told, line.ContextMap()["token_digest"])
	}
	if want := []any{"00000000", "0ddba115"}; !reflect.DeepEqual(told, want) {
		t.Errorf("the log tells of the tokens %v, want %v", told, want)
	}
}

// A client that tries many tokens, from many addresses, neither washes uploads off the page
// nor fills it or the log.
func TestManyRefusals(t *testing.T) {
	i := newInstance()
	core, log := observer.New(zap.DebugLevel)
	repeats := throttle.New(time.Hour)
	uploads := observe.NewUploads(observe.UploadsConfig{
		Log: zap.New(core), Repeats: repeats, Metrics: i.metrics, Outcomes: health.NewOutcomes(health.OutcomeConfig{}),
	})
	const before, each, addresses = 3, 10, 500
	for n := range int64(before) {
		for _, u := range []*observe.Uploads{i.uploads, uploads} {
			u.Begin(n, observe.Sender{}, nil).End(ended(outcome.Stored, outcome.NoReason))
		}
	}
	for n := range int64(each * addresses) {
		address := fmt.Sprintf("192.0.%d.%d", n%addresses/100, n%100)
		refusedBy(i.uploads, n, "unknown", address, fmt.Sprintf("%08x", n))
		refusedBy(uploads, n, "unknown", address, fmt.Sprintf("%08x", n))
	}
	m := firstMoment(t, i)
	if len(m.Ended) != before || len(m.Refusals) != 50 {
		t.Errorf("the page shows %d uploads and %d refusals", len(m.Ended), len(m.Refusals))
	}
	if m.Outcomes["refused"] != each*addresses {
		t.Errorf("it counts %d refusals", m.Outcomes["refused"])
	}
	if n := log.Len(); n > before+101 {
		t.Errorf("%d lines in the log at once", n)
	}
	repeats.Flush()
	told := int64(0)
	for _, line := range log.All()[before:] {
		told += 1 + line.ContextMap()["omitted"].(int64)
	}
	if n := log.Len(); n > before+202 || told != each*addresses {
		t.Errorf("%d lines in the log tell of %d refusals", n, told)
	}
}
