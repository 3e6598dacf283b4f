//go:build delivery

package balancers

import (
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/proxy"
)

// TestStreams: of an upload of 500 MB, the store has parts while the client has yet to send
// the last byte. The client does not send it before.
func TestStreams(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k)
		a := archive.Archive{Entries: []archive.Entry{
			{Name: archive.SymbolsName(1), Large: &archive.Pattern{Block: archive.Noise(1, 1<<20), Times: 500}},
		}}
		zip := a.Reader()
		var sent atomic.Int64
		last := int64(500<<20) - 1<<20 // the rest has the end of the file and the directory
		began := time.Now()
		body := io.MultiReader(&counted{io.LimitReader(zip, last), &sent}, &held{until: func() {
			t.Logf("%d of 500 MiB were sent in %v", sent.Load()>>20, time.Since(began))
			client.Until(t, "a part is at the store", func() bool { return b.parts(t) > 0 })
			t.Logf("the store has %d parts", b.parts(t))
		}}, zip)
		if status, err := b.upload(client.Within(t), "dev", body, last, 0); err != nil || status != http.StatusCreated {
			t.Fatalf("status %d, error %v", status, err)
		}
		t.Logf("stored after %v", time.Since(began))
		b.WantEntries(t, a.Entries)
	})
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// held is an empty reader that ends after until returns.
type held struct{ until func() }

func (h *held) Read([]byte) (int, error) {
	h.until()
	return 0, io.EOF
}

// parts returns how many parts of unfinished uploads of symbols the store has.
func (b *bed) parts(t *testing.T) (n int) {
	t.Helper()
	for _, u := range b.Store.Uploads(t, b.BucketName) {
		if u.Key == "v1/"+archive.SymbolsName(1) {
			n += b.Store.Parts(t, b.BucketName, u)
		}
	}
	return n
}

// drainDelay is what deploy and the documents recommend.
const drainDelay = "--drain-delay=10s"

// TestRollingRestart: both instances are ended by SIGTERM and started again, one after the
// other, under load. No upload is lost or refused.
func TestRollingRestart(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k, drainDelay)
		l := startLoad(t, b, 0)
		for _, i := range b.instances {
			time.Sleep(3 * time.Second)
			t.Logf("ended in %v", i.terminate(t))
			time.Sleep(3 * time.Second)
			i.start(t)
			// Whoever restarts instances waits until the proxy uses them again.
			client.Until(t, "the instance gets uploads", func() bool { return i.stored(t) > 0 })
		}
		all := l.end(t)
		t.Logf("%d uploads: %v", len(all), tally(all))
		for _, o := range all {
			if !o.stored() {
				t.Errorf("%v: %v", o.statuses, o.err)
			}
		}
		b.WantNoUploads(t)
	})
}

// TestWithoutDrainDelay: the same without --drain-delay. Uploads are refused until the proxy
// has noticed, and a client that retries loses none.
func TestWithoutDrainDelay(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k)
		l := startLoad(t, b, retries)
		for _, i := range b.instances {
			time.Sleep(3 * time.Second)
			i.terminate(t)
			time.Sleep(3 * time.Second)
			i.start(t)
			client.Until(t, "the instance gets uploads", func() bool { return i.stored(t) > 0 })
		}
		all := l.end(t)
		t.Logf("%d uploads: %v", len(all), tally(all))
		for _, o := range all {
			if !o.stored() {
				t.Errorf("%v: %v", o.statuses, o.err)
			}
		}
		b.WantNoUploads(t)
	})
}

// TestKilled: one of two instances is killed under load. Clients that retry as the official
// one does are all stored, and what is visible is whole.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k)
		l := startLoad(t, b, retries)
		killed := b.instances[0]
		time.Sleep(4 * time.Second)
		if err := killed.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Second)
		killed.start(t)
		client.Until(t, "the instance gets uploads", func() bool { return killed.stored(t) > 0 })
		all := l.end(t)
		t.Logf("%d uploads: %v", len(all), tally(all))
		for _, o := range all {
			if !o.stored() {
				t.Errorf("%v: %v", o.statuses, o.err)
			}
		}
	})
}
