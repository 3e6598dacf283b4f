package serve

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/receipts"
	"spillway/s3sink"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// TestReceiptFaultsOnTheWay has the write of a receipt fail in each way on its way to S3, with
// the request applied or not, once or always. The files stay. The client gets a 201 and a
// receipt, or a 503, and then both with a retry.
func TestReceiptFaultsOnTheWay(t *testing.T) {
	s3server.Each(t, func(t *testing.T, k s3server.Kind) {
		every := 5
		if k.Name == s3server.Versitygw.Name {
			every = nightly.Pick(5, 1)
		}
		testReceiptFaults(t, k.Start(t), every)
	})
}

func testReceiptFaults(t *testing.T, server *s3server.Server, every int) {
	var running sync.WaitGroup
	places, n := make(chan struct{}, 16), 0
	for _, kind := range s3fault.Kinds() {
		for _, applied := range []bool{false, true} {
			for _, always := range []bool{false, true} {
				fault := s3fault.Fault{Call: "PutObject receipts/…", Kind: kind, Applied: applied, Always: always}
				if n++; !fault.Possible() || n%every != 0 {
					continue
				}
				places <- struct{}{}
				running.Go(func() {
					defer func() { <-places }()
					t.Run(fault.String(), func(t *testing.T) { testReceiptFault(t, server, fault) })
				})
			}
		}
	}
	running.Wait()
}

func testReceiptFault(t *testing.T, server *s3server.Server, fault s3fault.Fault) {
	svc, proxy := startBehindProxy(t, server, overrides{
		adjustStore: func(cfg *s3sink.Config) {
			cfg.AttemptTimeout, cfg.CompleteTimeout, cfg.MaxBackoff = faultAttempt, faultAttempt, 10*time.Millisecond
		},
	}, "--receipts-prefix=receipts/")
	zip := archive.Build(heldInMemory)
	var failed atomic.Int64
	proxy.InjectSome(func(call string) *s3fault.Fault {
		if !strings.HasPrefix(call, "PutObject receipts/") || strings.Contains(call, ".spillway") || !fault.Always && failed.Load() > 0 {
			return nil
		}
		failed.Add(1)
		return &fault
	})
	a := client.MustSend(t, svc.api(), "dev", zip)
	<-svc.events
	proxy.InjectSome(nil)
	if failed.Load() == 0 {
		t.Error("nothing has failed")
	}
	mayFail := fault.Always || !fault.Kind.Passes()
	if a.Status != http.StatusCreated && (a.Status != http.StatusServiceUnavailable || a.RetryAfter == "" || !mayFail) {
		t.Errorf("%+v", a)
	}
	svc.wantRoom(t, "with the fault")
	before := svc.receipts(t)
	if stored := len(svc.Keys(t)) - before; stored != 1 || a.Status == http.StatusCreated && before != 1 || before > 1 {
		t.Errorf("status %d: %q", a.Status, svc.Keys(t))
	}

	again := client.MustSend(t, svc.api(), "dev", zip)
	if <-svc.events; again.Status != http.StatusCreated || len(again.Upload.SkippedKeys) != 1 || svc.receipts(t) != before+1 {
		t.Errorf("without the fault: %+v; %q", again, svc.Keys(t))
	}
	if left := svc.Store.Uploads(t, svc.BucketName); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
	svc.wantRoom(t, "without the fault")
}

// receipts returns how many receipts there are. All must be whole.
func (svc *testService) receipts(t *testing.T) (n int) {
	t.Helper()
	readers, err := s3sink.NewReaders(t.Context(), s3sink.Config{
		Bucket: svc.BucketName, Region: s3server.Region, Endpoint: svc.Store.Endpoint, PathStyle: true, ReceiptsPrefix: "receipts/",
		AccessKey: svc.Store.AccessKey, SecretKey: svc.Store.SecretKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	stats, err := receipts.Print(context.WithoutCancel(t.Context()), []receipts.Bucket{readers[0]}, receipts.Query{Key: heldInMemory.Name}, false, &out,
		func(e *receipts.MalformedError) { t.Error(e) })
	if err != nil {
		t.Fatal(err)
	}
	keys := slices.DeleteFunc(svc.Keys(t), func(key string) bool { return !strings.HasPrefix(key, "receipts/") })
	if len(keys) != stats.Printed {
		t.Errorf("%d receipts were found: %q", stats.Printed, keys)
	}
	return stats.Printed
}
