//go:build delivery

package balancers

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/proxy"
	"spillway/testdata/tmpfs"
)

// TestStreams: of an upload of 500 MB, the store has parts while the client has yet to send
// the last byte. The client does not send it before.
func TestStreams(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k)
		a := archive.Archive{Entries: []archive.Entry{
			{Name: archive.SymbolsName(1), Large: &archive.Pattern{Block: archive.Noise(1, 1<<20), Times: 500}},
		}}
		size, err := io.Copy(io.Discard, a.Reader())
		if err != nil {
			t.Fatal(err)
		}
		zip := a.Reader()
		var sent atomic.Int64
		last := int64(500<<20) - 1<<20 // the rest has the end of the file and the directory
		began := time.Now()
		body := io.MultiReader(&counted{io.LimitReader(zip, last), &sent}, &held{until: func() {
			t.Logf("%d of 500 MiB were sent in %v", sent.Load()>>20, time.Since(began))
			client.Until(t, "a part is at the store", func() bool { return b.parts(t) > 0 })
			t.Logf("the store has %d parts", b.parts(t))
		}}, zip)
		if status, err := b.upload(client.Within(t), "dev", body, size, 0); err != nil || status != http.StatusCreated {
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
		for what := range tally(restartBoth(t, newBed(t, k, drainDelay), 0)) {
			if what != "[201]" {
				t.Errorf("some uploads came to %s", what)
			}
		}
	})
}

// TestWithoutDrainDelay: the same without --drain-delay. HAProxy sends uploads that are
// refused until it has noticed. Clients that retry lose none.
func TestWithoutDrainDelay(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) { restartBoth(t, newBed(t, k), retries) })
}

// restartBoth restarts both instances under load. All uploads must be stored in the end.
func restartBoth(t *testing.T, b *bed, retries int) []outcome {
	t.Helper()
	l := startLoad(t, b, retries, false)
	for _, i := range b.instances {
		time.Sleep(3 * time.Second)
		t.Logf("ended in %v", i.terminate(t))
		time.Sleep(3 * time.Second)
		i.start(t)
		// Whoever restarts instances waits until the proxy uses them again.
		client.Until(t, "the instance gets uploads", func() bool { return i.stored(t) > 0 })
	}
	all := l.wantStored(t)
	b.WantNoUploads(t)
	return all
}

// TestKilled: one of two instances is killed under load. Clients that retry are all stored,
// and what is visible is whole. nginx answers all of them. HAProxy closes the connections of
// uploads that it is just sending without an answer.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k)
		l := startLoad(t, b, retries, k == proxy.HAProxy)
		killed := b.instances[0]
		time.Sleep(4 * time.Second)
		if err := killed.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Second)
		killed.start(t)
		client.Until(t, "the instance gets uploads", func() bool { return killed.stored(t) > 0 })
		l.wantStored(t)
	})
}

// TestPressure: other programs fill the disk of an instance. Its uploads go to the other
// one, and none is refused. Once there is space, it gets uploads again.
func TestPressure(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		disk, err := tmpfs.Mount(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		}()
		b := newBed(t, k)
		i := b.instances[0]
		i.terminate(t)
		i.args = append(i.args, "--spill-dir="+disk.Path, "--spill-min-free=32MiB")
		i.start(t)
		l := startLoad(t, b, 0, false)
		client.Until(t, "the instance gets uploads", func() bool { return i.stored(t) > 0 })

		file := disk.Path + "/other"
		if err := os.WriteFile(file, make([]byte, 40<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		client.AwaitStatus(t, i.API+"/__lbheartbeat__", http.StatusServiceUnavailable)
		t.Logf("out after %v", time.Since(began))
		time.Sleep(10 * time.Second) // HAProxy notices in 3 s, and large uploads take 3 s
		before := i.stored(t)
		time.Sleep(5 * time.Second)
		if n := i.stored(t) - before; n > 0 {
			t.Errorf("%d uploads went to an instance that is out", n)
		}

		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		client.Until(t, "the instance gets uploads again", func() bool { return i.stored(t) > before })
		t.Logf("back after %v", time.Since(began))
		l.wantStored(t)
	})
}

// TestUnavailable: while no instance takes uploads, clients get a 503 in JSON. nginx reads
// their uploads first. It is over as soon as one instance is back.
func TestUnavailable(t *testing.T) {
	each(t, func(t *testing.T, k proxy.Kind) {
		b := newBed(t, k)
		for _, i := range b.instances {
			i.terminate(t)
		}
		size := map[proxy.Kind]int{proxy.Nginx: 20 << 20, proxy.HAProxy: 100}[k]
		ask := func() client.Answer {
			body := strings.NewReader(strings.Repeat("x", size))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/upload/", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := b.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			a := client.Answer{Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
			_ = json.NewDecoder(resp.Body).Decode(&a) // HAProxy's own 503 is HTML, until it has noticed
			return a
		}
		want := "No instance of Spillway takes uploads"
		client.Until(t, "the proxy says so", func() bool {
			a := ask()
			if a.Status != http.StatusServiceUnavailable {
				t.Errorf("status %d", a.Status)
			}
			return a.Error == want && a.Detail != "" && a.RetryAfter != ""
		})
		b.instances[1].start(t)
		client.Until(t, "the proxy passes requests on", func() bool { return b.isOpen(t) })
	})
}
