package stream_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// TestNoRoom reads an archive while another upload has all parts.
func TestNoRoom(t *testing.T) {
	for _, e := range ziptest.BigEntries() {
		t.Run(e.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := ziptest.NewMemory(t)
				ctx, other := admit(t, m)
				all := leaseAll(t, ctx, other)
				for _, b := range all {
					b.Full()
				}
				begin := time.Now()
				source := archive.Build(e)
				room, share, err := m.Admit(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s := ziptest.NewStore(t, m)
				_, err = ziptest.Read(room, bytes.NewReader(source), share, s, ziptest.Ordinary)
				s.Close()
				share.Close()
				if _, ok := errors.AsType[*stream.NoRoomError](err); !ok || time.Since(begin) != time.Second {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
				release(all...)
				other.Close()
				checkEmpty(t, m)
			})
		})
	}
}

// TestSlowClientIsEnded lets a client stall within a part while another upload
// waits.
func TestSlowClientIsEnded(t *testing.T) {
	for _, e := range ziptest.BigEntries() {
		t.Run(e.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := stream.NewMemory(64*mib, part, 4, 30*time.Second, nil)
				if err != nil {
					t.Fatal(err)
				}
				slow := ziptest.Stall(archive.Build(e)[:part+part/2])
				var wg sync.WaitGroup
				wg.Go(func() {
					room, share, err := m.Admit(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					s := ziptest.NewStore(t, m)
					_, err = ziptest.Read(room, slow, share, s, ziptest.Ordinary)
					s.Close()
					share.Close()
					if _, ok := errors.AsType[*stream.NoRoomError](err); !ok {
						t.Errorf("the slow client's upload ended with %v", err)
					}
				})
				<-slow.Stalled
				begin := time.Now()
				ctx, other := admit(t, m)
				all := leaseAll(t, ctx, other)
				for _, b := range all {
					b.Full()
				}
				b, err := other.Lease(ctx)
				if err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took != 20*time.Second {
					t.Errorf("the other upload waited for %v", took)
				}
				wg.Wait()
				release(append(all, b)...)
				other.Close()
				checkEmpty(t, m)
			})
		})
	}
}
