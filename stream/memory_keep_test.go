package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
)

// TestKeep: what an upload leaves behind keeps its memory, and no floor, unless
// others wait for that memory.
func TestKeep(t *testing.T) {
	for _, c := range []struct {
		name   string
		lease  bool // all other memory is leased, and somebody waits for more
		n      int64
		floors int64 // bytes, afterwards
		leased int64 // likewise, of the upload
	}{
		{"in free memory", false, 100 << 10, 0, 100 << 10},
		{"nothing", false, 0, 0, 0},
		{"while others wait", true, 100 << 10, 512 << 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := stream.NewMemory(64<<20, 5<<20, 2, time.Minute, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, share := admit(t, m)
				var others int64
				if c.lease {
					ctx, other := admit(t, m)
					var held []*stream.Buffer
					waits := make(chan struct{})
					go func() {
						defer close(waits)
						for {
							b, err := other.Lease(ctx)
							if err != nil {
								return
							}
							held = append(held, b)
						}
					}()
					synctest.Wait()
					others = m.Usage().Leased
					defer func() {
						<-waits // after a minute without room
						for _, b := range held {
							b.Release()
						}
						other.Close()
						if u := m.Usage(); u != (stream.Usage{Total: u.Total}) {
							t.Errorf("at the end: %+v", u)
						}
					}()
					c.floors += 512 << 10
				}
				share.Keep(c.n)
				if u := m.Usage(); u.Floors != c.floors || u.Leased-others != c.leased {
					t.Errorf("%+v, want floors of %d and %d leased beside %d", u, c.floors, c.leased, others)
				}
				if share.InTheWay() != c.lease {
					t.Errorf("InTheWay is %v", !c.lease)
				}
				share.Close()
				share.Close()
				if !c.lease {
					for range 2 { // the floor is there, once
						_, next := admit(t, m)
						defer next.Close()
					}
				}
			})
		})
	}
}
