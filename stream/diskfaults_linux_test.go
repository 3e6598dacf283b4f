package stream_test

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

// TestDiskTrouble: only faults of the machine are reported as trouble. What clients can
// cause is refused and not reported.
func TestDiskTrouble(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	for _, c := range []struct {
		name    string
		op      string
		fault   error
		free    int64 // that the disk reports; 0: the real value
		minFree int64
		size    int64 // that the request states
		trouble bool
		refused bool // with a QuotaError
	}{
		{name: "a call fails", op: "write", fault: syscall.EIO, trouble: true},
		{name: "a file cannot be created", op: "create", fault: syscall.EROFS, trouble: true},
		{name: "no space, though there is some", op: "allocate", fault: syscall.ENOSPC, trouble: true},
		{name: "no inodes", op: "create", fault: syscall.ENOSPC, trouble: true},
		{name: "free space is not known", op: "free", fault: syscall.EIO, trouble: true},
		{name: "others have taken the space", op: "allocate", fault: syscall.ENOSPC, free: 2 * mib, minFree: 2*mib - 64<<10, refused: true},
		{name: "a disk quota of the file system", op: "allocate", fault: syscall.EDQUOT, refused: true},
		{name: "no descriptors", op: "create", fault: syscall.EMFILE},
		{name: "no descriptors in the system", op: "create", fault: syscall.ENFILE},
		{name: "a stated size over the free space", free: 2 * mib, size: 3 * mib, refused: true},
		{name: "below the minimum of free space", free: 2 * mib, minFree: 3 * mib, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault := &diskFault{op: c.op, call: 1, err: c.fault}
			var reported []error
			m := budgettest.NewWithDisk(t, func(cfg *budget.SpillConfig) {
				fault.on(cfg)
				if c.free > 0 {
					cfg.Disk = shortDisk{cfg.Disk, func() int64 {
						if c.op != "" && fault.calls.Load() == 0 {
							return 2 * c.free
						}
						return c.free
					}}
				}
				cfg.MinFree = c.minFree
				cfg.Trouble = func(err error) { reported = append(reported, err) }
			})
			rules := ziptest.Ordinary
			rules.Size = c.size
			_, _, err := ziptest.Reading{Data: data, Budget: m, Rules: &rules}.Do(t)
			quota, refused := errors.AsType[*budget.QuotaError](err)
			if err == nil || refused != c.refused || refused && quota.Quota != budget.FreeSpace {
				t.Errorf("the upload ended with %v", err)
			}
			if trouble := len(reported) > 0; trouble != c.trouble {
				t.Errorf("reported %v", reported)
			}
			budgettest.CheckUnused(t, m)
		})
	}
}

// TestOwnSpace: the space of our own files is exact to the block, however much is reserved
// for them.
func TestOwnSpace(t *testing.T) {
	m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 64*mib, 64*mib })
	spill := m.Spill()
	own := func(when string) int64 {
		_, own, err := spill.Free(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		return own
	}
	ctx, share := admit(t, m)
	data := ziptest.SpillArchives()["gaps between entries"]
	rules := ziptest.Ordinary
	rules.Size = 40 * mib // more than arrives
	source := ziptest.StallAt(data, 700<<10)
	sink := &keeper{}
	read := make(chan error)
	go func() {
		_, err := ziptest.Read(ctx, source, share, sink, rules)
		read <- err
	}()
	<-source.Stalled
	if n, u := own("while it arrives"), spill.Usage(); n < 500<<10 || n > mib || u.Used < 39*mib {
		t.Errorf("%d of %d reserved bytes are taken", n, u.Used)
	}
	source.LetGo()
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if n, u := own("once it has been read"), spill.Usage(); n == 0 || n != u.Used-64<<10 {
		t.Errorf("%d of %d reserved bytes are taken", n, u.Used)
	}
	sink.release()
	share.Close()
	if n := own("in the end"); n != 0 {
		t.Errorf("%d bytes are taken after everything was released", n)
	}
}

// TestProbeOfFullDisk: the probe distinguishes a disk that others have filled from one
// that our own files have filled, and from one that fails.
func TestProbeOfFullDisk(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault error
		free  int64
		own   bool // our own files have filled it
		quota bool // want a QuotaError
		ok    bool
	}{
		{name: "filled by others", fault: syscall.ENOSPC, free: 1000, quota: true},
		{name: "filled by our own files", fault: syscall.ENOSPC, free: 1000, own: true, ok: true},
		{name: "no space, though there is some", fault: syscall.ENOSPC, free: mib},
		{name: "no space, though there is some, with our own files", fault: syscall.ENOSPC, free: mib, own: true},
		{name: "a quota of the file system", fault: syscall.EDQUOT, free: mib},
		{name: "a quota of the file system, filled by our own files", fault: syscall.EDQUOT, free: mib, own: true, ok: true},
		{name: "read-only", fault: syscall.EROFS, free: mib, own: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault, free := &diskFault{op: "create", err: c.fault}, int64(64*mib)
			m := budgettest.NewWithDisk(t, func(cfg *budget.SpillConfig) {
				fault.on(cfg)
				cfg.Disk = shortDisk{cfg.Disk, func() int64 { return free }}
			})
			spill := m.Spill()
			ctx, share := admit(t, m)
			sink := &keeper{}
			if c.own {
				if _, err := ziptest.Read(ctx, bytes.NewReader(ziptest.SpillArchives()["gaps between entries"]), share, sink, ziptest.Ordinary); err != nil {
					t.Fatal(err)
				}
			}
			fault.call, free = int(fault.calls.Load())+1, c.free
			err := spill.Probe(t.Context())
			_, quota := errors.AsType[*budget.QuotaError](err)
			if c.ok != (err == nil) || quota != c.quota {
				t.Errorf("the probe returned %v", err)
			}
			sink.release()
			share.Close()
		})
	}
}

// TestDiskFaults fails each operation of the disk at each of its calls (nightly; else at a
// sample).
func TestDiskFaults(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	for _, op := range []string{"create", "free", "allocate", "write", "read", "punch"} {
		for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
			for call := 1; ; call += nightly.Pick(7, 1) {
				disk := &diskFault{op: op, call: call, err: fault}
				m := budgettest.NewWithDisk(t, disk.on)
				s, _, err := ziptest.Reading{Data: data, Budget: m}.Do(t)
				if disk.calls.Load() < int64(call) {
					if err != nil || call == 1 {
						t.Errorf("%s: the upload ended after %d calls with %v", op, call-1, err)
					}
					break
				}
				// A hole that cannot be punched is given back when the file is closed.
				if _, ok := errors.AsType[*budget.DiskError](err); !ok && (op != "punch" || err != nil) {
					t.Errorf("%s fails at call %d with %v: the upload ended with %v", op, call, fault, err)
				}
				if err != nil && len(s.Kept()) > 0 {
					t.Errorf("%s fails at call %d: something is kept", op, call)
				}
				budgettest.CheckUnused(t, m)

				if errors.Is(fault, syscall.EIO) {
					continue // the disk works again in the same way
				}
				s, _, err = ziptest.Reading{Data: data, Budget: m}.Do(t)
				if err != nil {
					t.Fatalf("the upload after %s failed at call %d: %v", op, call, err)
				}
				ziptest.CheckSpillFiles(t, s)
			}
		}
	}
}
