package serve

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
	"spillway/testdata/remote"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// TestFaultsOnTheWay puts a proxy between the service and S3 that fails one call in one
// way. Together the faults are a matrix: each call that the service makes, each way to
// fail, with the request applied or not, once or always.

// sampleOf is how many faults of the matrix there are for each one that gates a change.
// It shares no factor with the sides of the matrix, so that the sample has all of them.
const sampleOf = 23

// faultAttempt is the time limit of a request here. Only requests without an answer take it.
const faultAttempt = 5 * time.Second

// faulty is a service whose S3 server can be made to fail.
type faulty struct {
	*testService
	proxy *s3fault.Proxy
}

func startFaulty(t *testing.T, server *s3server.Server) *faulty {
	t.Helper()
	f := &faulty{}
	f.testService, f.proxy = startBehindProxy(t, server, overrides{
		adjustStore: func(cfg *s3sink.Config) {
			cfg.AttemptTimeout, cfg.CompleteTimeout, cfg.MaxBackoff = faultAttempt, faultAttempt, 10*time.Millisecond
		},
	}, "--download-any", "--memory=30MiB", "--spill-dir="+t.TempDir())
	return f
}

// The ways into S3: an entry held in memory, one held on disk, and one that is sent in parts
// while it arrives.
var (
	heldInMemory = archive.Entry{Name: "held.pdb/A0/held.sym", Data: archive.Symbols(1, 20_000), Method: archive.Deflate}
	heldOnDisk   = archive.Entry{Name: "disk.pdb/A0/disk.pd_", Data: archive.Noise(2, 300<<10), Descriptor: archive.Signed32}
	sentInParts  = archive.Entry{Name: "large.pdb/A0/large.pd_", Data: archive.Noise(3, 5<<20+1)}
	damaged      = archive.Entry{
		Name: "bad.pdb/A0/bad.sym", Data: archive.Symbols(4, 1000), Method: archive.Deflate,
		Local: func(h *archive.LocalHeader) { h.CRC32++ }, Central: func(r *archive.CentralHeader) { r.CRC32++ },
	}
)

// How an archive is fetched from a URL.
const (
	fromStart = "from its start"
	inRanges  = "in ranges"
)

// scenario is something that the service does with S3. One of its calls fails.
type scenario struct {
	name    string
	entries []archive.Entry
	byURL   string // fromStart or inRanges: the archive is fetched from a URL

	// run runs the scenario. The fault is injected, unless it is nil, until run calls done.
	run func(t *testing.T, f *faulty, s *scenario, fault *s3fault.Fault, done func())

	// calls are prefixes of the calls that fail, one after the other
	calls []string
}

var scenarios = []scenario{
	{"small entries", []archive.Entry{heldInMemory, heldOnDisk}, "", runUpload, []string{"HeadObject", "PutObject"}},
	{"parts", []archive.Entry{heldInMemory, sentInParts}, "", runUpload, []string{"HeadObject v1/large", "Create", "UploadPart", "Complete"}},
	{"a refused archive", []archive.Entry{sentInParts, damaged}, "", runUpload, []string{"Create", "Abort"}},
	{"small entries, fetched", []archive.Entry{heldInMemory, heldOnDisk}, fromStart, runUpload, []string{"HeadObject", "PutObject"}},
	{"small entries, fetched in ranges", []archive.Entry{heldInMemory, heldOnDisk}, inRanges, runUpload, []string{"HeadObject", "PutObject"}},
	{"parts, fetched", []archive.Entry{heldInMemory, sentInParts}, fromStart, runUpload, []string{"HeadObject v1/large", "Create", "UploadPart", "Complete"}},
	{"parts, fetched in ranges", []archive.Entry{heldInMemory, sentInParts}, inRanges, runUpload, []string{"HeadObject v1/large", "Create", "UploadPart", "Complete"}},
	{"a refused archive, fetched", []archive.Entry{sentInParts, damaged}, fromStart, runUpload, []string{"Create", "Abort"}},
	{"a refused archive, fetched in ranges", []archive.Entry{sentInParts, damaged}, inRanges, runUpload, []string{"Create", "Abort"}},
	{"a sweep", nil, "", runSweep, []string{"List", "Abort"}},
	{"a probe", nil, "", runProbe, []string{"HeadObject v1/", "GetObject v1/", "PutObject v1/", "CreateMultipartUpload v1/", "UploadPart v1/", "AbortMultipartUpload v1/"}},
}

// upload sends the scenario's archive and waits until the upload has given its room back.
func (f *faulty) upload(t *testing.T, s *scenario) client.Answer {
	t.Helper()
	zip := archive.Build(s.entries...)
	if s.byURL != "" {
		return f.uploadFrom(t, &remote.File{Content: zip, Header: remote.StrongETag(), NoRanges: s.byURL == fromStart})
	}
	a, err := client.Send(client.Within(t), f.api(), "dev", bytes.NewReader(zip))
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	<-f.events
	return a
}

// wantWhole checks that each visible object is a whole entry of the scenario, and returns how
// many there are.
func (f *faulty) wantWhole(t *testing.T, s *scenario) (visible int) {
	t.Helper()
	keys := f.Keys(t)
	for _, e := range s.entries {
		if !slices.Contains(keys, "v1/"+e.Name) {
			continue
		}
		visible++
		o, _ := f.Store.Object(t, f.BucketName, "v1/"+e.Name)
		body := o.Body
		if o.ContentEncoding == "gzip" {
			body = client.Gunzip(t, body)
		}
		if !bytes.Equal(body, e.Data) {
			t.Errorf("%q is visible with %d bytes that are not its %d", e.Name, len(body), len(e.Data))
		}
	}
	if visible != len(keys) {
		t.Errorf("visible: %q", keys)
	}
	return visible
}

// wantAborted checks that no multipart upload is unfinished, except where the answer to its
// create was lost, so that nobody knows its ID, or where the abort failed.
func (f *faulty) wantAborted(t *testing.T, fault *s3fault.Fault) {
	t.Helper()
	if fault != nil {
		switch operation := fault.Operation(); {
		case operation == "CreateMultipartUpload" && fault.Applied:
			return
		case operation == "AbortMultipartUpload" && (fault.Always || !fault.Kind.Passes()):
			return
		}
	}
	if left := f.Store.Uploads(t, f.BucketName); len(left) > 0 {
		t.Errorf("unfinished: %v", left)
	}
}

// runUpload: the archive is stored or refused as without the fault, or the client is told to
// retry, and the retry is.
func runUpload(t *testing.T, f *faulty, s *scenario, fault *s3fault.Fault, done func()) {
	sound, want := len(s.entries), http.StatusCreated
	if s.entries[sound-1].Name == damaged.Name {
		sound, want = 0, http.StatusBadRequest
	}
	failed := fault != nil && (fault.Always || !fault.Kind.Passes()) && fault.Operation() != "AbortMultipartUpload"
	a := f.upload(t, s)
	done()
	if comeBack := a.Status == http.StatusServiceUnavailable && a.RetryAfter != ""; a.Status != want && (!failed || !comeBack) {
		t.Errorf("%+v", a)
	}
	f.wantRoom(t, "with the fault")
	f.wantAborted(t, fault)
	visible := f.wantWhole(t, s)
	published := fault != nil && slices.Contains([]string{"PutObject", "CompleteMultipartUpload"}, fault.Operation())
	if a.Status == want && visible != sound || a.Status != want && visible > 0 && !published {
		t.Errorf("%+v, and %d of %d entries are visible", a, visible, sound)
	}

	if a := f.upload(t, s); a.Status != want || len(a.Upload.UploadedKeys)+len(a.Upload.SkippedKeys) != sound {
		t.Errorf("without the fault: %+v", a)
	}
	if visible := f.wantWhole(t, s); visible != sound {
		t.Errorf("without the fault, %d of %d entries are visible", visible, sound)
	}
	f.wantRoom(t, "without the fault")
}

// sweep aborts every multipart upload, whatever its age.
func (f *faulty) sweep(t *testing.T) error {
	t.Helper()
	f.settings.SweepAge = -time.Hour
	_, err := f.janitor.tasks[0].run(client.Within(t))
	return err
}

// runSweep: a sweep without an error leaves nothing.
func runSweep(t *testing.T, f *faulty, _ *scenario, fault *s3fault.Fault, done func()) {
	f.Store.Begin(t, f.BucketName, "v1/left.pdb/A0/left.pd_")
	err := f.sweep(t)
	done()
	if err != nil && (fault == nil || !fault.Always && fault.Kind.Passes()) {
		t.Errorf("one failure was too much: %v", err)
	}
	if left := f.Store.Uploads(t, f.BucketName); len(left) > 0 && err == nil && !fault.Lies() {
		t.Errorf("said to be swept, and there are: %v", left)
	}
}

// runProbe: the heartbeat says that the store fails, or a retry succeeds. The balancer's
// heartbeat stays 200.
func runProbe(t *testing.T, f *faulty, _ *scenario, fault *s3fault.Fault, done func()) {
	r := client.Get(t, f.api()+"/__heartbeat__")
	done()
	if r.Status != http.StatusOK && (r.Status != http.StatusInternalServerError || fault == nil) {
		t.Errorf("status %d: %s", r.Status, r.Body)
	}
	if up := client.Get(t, f.api()+"/__lbheartbeat__"); up.Status != http.StatusOK {
		t.Errorf("the balancer is told %d", up.Status)
	}
}

// Whatever fails, the objects that are visible are whole, the answer makes clients come
// back, no room is kept, and after a sweep no upload is unfinished.
func TestFaultsOnTheWay(t *testing.T) {
	s3server.Each(t, func(t *testing.T, k s3server.Kind) {
		every := sampleOf
		if k.Name == s3server.Versitygw.Name {
			every = nightly.Pick(sampleOf, 1)
		}
		testFaultsOnTheWay(t, k.Start(t), every)
	})
}

// testFaultsOnTheWay tries one of so many faults of the matrix.
func testFaultsOnTheWay(t *testing.T, server *s3server.Server, every int) {
	var combinations atomic.Int64
	var running sync.WaitGroup
	places := make(chan struct{}, 16) // these wait, mostly
	for _, s := range scenarios {
		for i, fault := range s.faults(t, server) {
			if i%every != 0 {
				continue
			}
			places <- struct{}{}
			running.Go(func() {
				defer func() { <-places }()
				combinations.Add(1)
				t.Run(s.name+": "+fault.String(), func(t *testing.T) {
					f := startFaulty(t, server)
					f.proxy.Inject(&fault)
					s.run(t, f, &s, &fault, func() { f.proxy.Inject(nil) })
					if f.proxy.Failed() == 0 {
						t.Error("nothing has failed")
					}
					if err := f.sweep(t); err != nil {
						t.Errorf("the sweep: %v", err)
					}
					f.wantAborted(t, nil)
				})
			})
		}
	}
	running.Wait()
	t.Logf("%d combinations", combinations.Load())
}

// faults runs the scenario once to find its calls, and returns all faults that they can have.
func (s *scenario) faults(t *testing.T, server *s3server.Server) (all []s3fault.Fault) {
	t.Helper()
	clean := startFaulty(t, server)
	s.run(t, clean, s, nil, func() {})
	var calls []string
	for _, call := range clean.proxy.Calls() {
		if slices.ContainsFunc(s.calls, func(name string) bool { return strings.HasPrefix(call, name) }) {
			calls = append(calls, call)
		}
	}
	if len(calls) < 2 {
		t.Fatalf("%s: the calls are %q", s.name, calls)
	}
	for _, call := range calls {
		for _, kind := range s3fault.Kinds() {
			for _, applied := range []bool{false, true} {
				for _, always := range []bool{false, true} {
					f := s3fault.Fault{Call: call, Kind: kind, Applied: applied, Always: always}
					if f.Possible() {
						all = append(all, f)
					}
				}
			}
		}
	}
	t.Logf("%s: %d faults of the calls %q", s.name, len(all), calls)
	return all
}
