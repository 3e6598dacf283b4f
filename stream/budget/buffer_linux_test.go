package budget_test

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
)

// bytesOf is what a buffer has.
func bytesOf(t testing.TB, b *budget.Buffer) []byte {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Error(err)
	}
	return data
}

func TestBuffer(t *testing.T) {
	b := newBudget(t, 1)
	u := begin(t, b)
	held, ok := u.Hold(part)
	if !ok {
		t.Fatal("nothing could be held")
	}
	for _, buffer := range []*budget.Buffer{u.lease(t), held} {
		if buffer.Memory() != part || buffer.Size() != 0 {
			t.Errorf("a new buffer has %d bytes and takes %d", buffer.Size(), buffer.Memory())
		}
		if n, err := buffer.Write([]byte("MODULE Linux")); n != 12 || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
		if got := string(bytesOf(t, buffer)); got != "MODULE Linux" {
			t.Errorf("the buffer holds %q", got)
		}
		if n, err := buffer.Write(make([]byte, part)); n != part-12 || err != nil {
			t.Errorf("the buffer took %d more bytes, want %d: %v", n, part-12, err)
		}
		buffer.Full()
		buffer.Release()
		buffer.Release()
	}
	(*budget.Buffer)(nil).Release()

	// The next part is empty, whoever had its bytes before.
	again := u.lease(t)
	if again.Size() != 0 || again.Memory() != part {
		t.Errorf("a buffer leased again has %d bytes and takes %d", again.Size(), again.Memory())
	}
	again.Release()
	u.Close()
	budgettest.CheckUnused(t, b)
}

func TestHoldTakesFreeRoomOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 1)
		u := begin(t, b)
		var held []*budget.Buffer
		for {
			buffer, ok := u.Hold(mib)
			if !ok {
				break
			}
			held = append(held, buffer)
		}
		if len(held) < part/mib {
			t.Errorf("no more than %d MiB could be held", len(held))
		}
		leased := u.leaseAll(t)
		if len(leased) < 2 {
			t.Errorf("with all room held, %d parts could be leased, want 2", len(leased))
		}
		if empty, ok := u.Hold(0); !ok || empty.Size() != 0 {
			t.Error("an empty entry could not be held")
		} else {
			empty.Release()
		}
		release(append(held, leased...)...)
		u.Close()
		budgettest.CheckUnused(t, b)
	})
}

// TestHeldRoomIsWantedBack: while others wait for memory, nothing is held, and those
// who hold something are told.
func TestHeldRoomIsWantedBack(t *testing.T) {
	for name, ask := range map[string]func(u upload) error{
		"a part":   func(u upload) error { _, err := u.Lease(u.ctx, part); return err },
		"a ticket": func(u upload) error { return u.takeTicket() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 2)
				u, other := begin(t, b), begin(t, b)
				held, _ := u.Hold(1)
				all := other.leaseAll(t)
				select {
				case <-u.Wanted(): // leaseAll asked for more than there was
				default:
				}
				if u.Waited() {
					t.Error("nobody waits")
				}
				got := wait(func() error { return ask(other) })
				synctest.Wait()
				select {
				case <-u.Wanted():
				default:
					t.Error("what it holds is not wanted")
				}
				if !u.Waited() {
					t.Error("somebody waits")
				}
				if _, ok := u.Hold(1); ok {
					t.Error("held room that another upload waits for")
				}
				u.checkEnded(t, false)
				held.Release()
				release(all[:2]...)
				<-got
			})
		})
	}
}

func TestHoldIsBounded(t *testing.T) {
	b := newBudget(t, 4, func(c *budget.Config) { c.Memory = 1 << 30 })
	u, other := begin(t, b), begin(t, b)
	var held []*budget.Buffer
	for {
		buffer, ok := u.Hold(4 * mib)
		if !ok {
			break
		}
		held = append(held, buffer)
	}
	if len(held) != 16 {
		t.Errorf("%d MiB could be held, want 64", 4*len(held))
	}
	if peak, _ := u.Peak(); peak != 64*mib {
		t.Errorf("the peak is %d, want 64 MiB", peak)
	}
	more, ok := other.Hold(4 * mib)
	if !ok {
		t.Error("one upload's limit is another's")
	}
	release(append(held, more)...)
	u.Close()
	other.Close()
	budgettest.CheckUnused(t, b)
}

// slowBuffers are the buffers of a client that fills them slowly.
type slowBuffers map[string]func(t *testing.T, u upload) *budget.Buffer

// TestBuffersOfSlowClients: what a client fills slowly while another upload waits
// moves to the disk. If the disk has no room, the upload ends.
func TestBuffersOfSlowClients(t *testing.T) {
	first, second := archive.Noise(1, 3*mib), archive.Noise(2, 2*mib)
	for name, take := range (slowBuffers{
		"a part":        func(t *testing.T, u upload) *budget.Buffer { return u.lease(t) },
		"a held buffer": func(_ *testing.T, u upload) *budget.Buffer { b, _ := u.Hold(part); return b },
	}) {
		for _, quota := range []int64{0, mib, 64 * mib} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBudget(t, 2, withDisk(t, quota))
					slow, other := begin(t, b), begin(t, b)
					small, _ := slow.Hold(1000) // in nobody's way
					full, _ := slow.Hold(mib)
					full.Full()
					buffer := take(t, slow)
					_, _ = buffer.Write(first)
					all := other.leaseAll(t)
					time.Sleep(time.Hour)
					slow.checkEnded(t, false) // nobody waited

					go func() {
						<-slow.ctx.Done()
						buffer.Release()
					}()
					r := <-inBackground(func() (*budget.Buffer, error) { return other.Lease(other.ctx, part) })
					if r.err != nil || r.after > 2*time.Second { // it has been slow for long
						t.Errorf("a part after %v: %v", r.after, r.err)
					}
					room := quota > part
					slow.checkEnded(t, !room)
					if small.Memory() == 0 || full.Memory() == 0 {
						t.Error("a small buffer, or a full one, has moved")
					}
					if room {
						_, _ = buffer.Write(second)
						if n, err := buffer.Write([]byte{1}); n != 0 || err != nil {
							t.Errorf("it took %d bytes too many: %v", n, err)
						}
						buffer.Full()
						if !bytes.Equal(bytesOf(t, buffer), append(bytes.Clone(first), second...)) {
							t.Error("what has moved has other bytes")
						}
						if buffer.Held() {
							t.Error("it would have the disk until its upload ends, which may wait for others")
						}
						if _, peak := slow.Peak(); buffer.Memory() != 0 || peak < part {
							t.Errorf("it takes %d bytes of memory, and at most %d of the disk", buffer.Memory(), peak)
						}
						buffer.Release()
					}
					release(append(all, small, full, r.value)...)
					slow.Close()
					other.Close()
					budgettest.CheckUnused(t, b)
				})
			})
		}
	}
}

// TestBuffersOfTheSlowestClientsGoFirst: no more is taken than somebody waits for, and
// of the slowest first.
func TestBuffersOfTheSlowestClientsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 6)
		ended := make(chan int, 5)
		var slow []upload
		var buffers []*budget.Buffer
		for i := range 5 {
			u := begin(t, b)
			buffer := u.lease(t)
			slow, buffers = append(slow, u), append(buffers, buffer)
			go func() {
				<-u.ctx.Done()
				ended <- i
				buffer.Release()
			}()
			time.Sleep(time.Second)
		}
		other := begin(t, b)
		all := other.leaseAll(t)
		for want := range 3 {
			r := <-inBackground(func() (*budget.Buffer, error) { return other.Lease(other.ctx, part) })
			if r.err != nil || r.after > 17*time.Second {
				t.Fatalf("after %v: %v", r.after, r.err)
			}
			r.value.Full()
			all = append(all, r.value)
			if got := <-ended; got != want {
				t.Errorf("upload %d was ended, want %d", got, want)
			}
		}
		if len(ended) > 0 {
			t.Error("more were ended than somebody waited for")
		}
		release(append(all, buffers...)...)
		for _, u := range append(slow, other) {
			u.Close()
		}
		budgettest.CheckUnused(t, b)
	})
}

// TestFullBuffersAreTheStores: a buffer that is full waits for the store, and its
// client is not slow any more.
func TestFullBuffersAreTheStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 2)
		u, other := begin(t, b), begin(t, b)
		buffer := u.lease(t)
		time.Sleep(19 * time.Second)
		buffer.Full()
		all := other.leaseAll(t)
		_, err := other.Lease(other.ctx, part)
		checkNoRoom(t, err)
		u.checkEnded(t, false)
		release(append(all, buffer)...)
		u.Close()
		other.Close()
		budgettest.CheckUnused(t, b)
	})
}
