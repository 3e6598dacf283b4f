package stream_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// prefixed is an archive of n bytes, and some more, that has to be held.
func prefixed(seed uint64, n int) []byte {
	return archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{Name: "a.dll", Data: archive.Noise(seed, n)}}}.Bytes()
}

// slowWaiter is an upload whose client was slow, so that a body moved to the disk. Now
// the upload waits for more of the disk.
type slowWaiter struct {
	memory *stream.Memory
	spill  *stream.Spill
	ended  <-chan error
	owner  <-chan outcome // the upload that has most of the disk
	finish func()         // lets that upload end
}

func newSlowWaiter(t *testing.T) *slowWaiter {
	t.Helper()
	spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota, c.UploadQuota = 8*mib, 8*mib })
	m, err := stream.NewMemory(30*mib, part, 4, time.Minute, spill)
	if err != nil {
		t.Fatal(err)
	}
	ctx, share := admit(t, m)
	body, _ := share.Hold(4 * mib)
	otherCtx, other := admit(t, m)
	all := leaseAll(t, otherCtx, other)
	for _, b := range all {
		b.Full()
	}
	release(append(all, leaseOfTheSlow(t, otherCtx, other))...)
	other.Close()
	body.Full()
	if spill.Usage().Used < 4*mib {
		t.Fatal("the body of the slow client is not on the disk")
	}

	large, small := prefixed(1, 7*mib/2), prefixed(2, mib/2)
	ended := make(chan error, 1)
	go func() {
		slow := newPausing(small, 10)
		time.AfterFunc(25*time.Second, func() { close(slow.letGo) })
		rules := ziptest.Ordinary
		rules.Size = int64(len(small))
		_, err := ziptest.Read(ctx, slow, share, ziptest.NewStore(t, m), rules)
		body.Release()
		share.Close()
		ended <- err
	}()
	time.Sleep(15 * time.Second)
	source := newPausing(large, len(large)-1)
	owner := background(t, m, source, len(large))
	<-source.stalled
	time.Sleep(11 * time.Second)
	return &slowWaiter{m, spill, ended, owner, func() { close(source.letGo) }}
}

// TestOnlyWaiterForTheDiskIsNotEnded: an upload that was slow before, and is alone in
// waiting for the disk, keeps nobody waiting.
func TestOnlyWaiterForTheDiskIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWaiter(t)
		synctest.Wait()
		if n := w.spill.Usage().Waiting; n != 1 {
			t.Errorf("%d uploads wait for the disk, want the slow one", n)
		}
		time.Sleep(7 * time.Second)
		w.finish()
		if err := <-w.ended; err != nil {
			t.Errorf("the upload that waited: %v", err)
		}
		if got := <-w.owner; got.err != nil {
			t.Errorf("the upload that had the disk: %v", got.err)
		}
		ziptest.CheckNothingSpilled(t, w.spill)
		checkEmpty(t, w.memory)
	})
}

// TestSlowWaiterForTheDiskGivesWay: the same, but another upload waits behind it, for
// which what it has would be enough.
func TestSlowWaiterForTheDiskGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWaiter(t)
		data := prefixed(3, mib)
		next := background(t, w.memory, bytes.NewReader(data), len(data))
		err := <-w.ended
		if q, ok := errors.AsType[*stream.QuotaError](err); !ok || q.Never {
			t.Errorf("the slow upload: %v", err)
		}
		if got := <-next; got.err != nil {
			t.Errorf("the upload behind it: %v", got.err)
		}
		w.finish()
		if got := <-w.owner; got.err != nil {
			t.Errorf("the upload that had the disk: %v", got.err)
		}
		ziptest.CheckNothingSpilled(t, w.spill)
		checkEmpty(t, w.memory)
	})
}
