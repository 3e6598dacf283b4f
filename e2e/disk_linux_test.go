package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// onDisk returns how many bytes of disk are allocated to the files that a process has open in
// a folder. Spill files have no names, so they show only among the process's descriptors.
func onDisk(pid int, folder string) (int64, error) {
	open := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(open)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, e := range entries {
		path := filepath.Join(open, e.Name())
		to, err := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(to, folder+"/") {
			continue
		}
		info, statErr := os.Stat(path)
		if errors.Is(statErr, fs.ErrNotExist) {
			continue // closed just now
		}
		if err := errors.Join(err, statErr); err != nil {
			return 0, err
		}
		total += info.Sys().(*syscall.Stat_t).Blocks * 512 // stat(2)
	}
	return total, nil
}

// sampler measures the peak of what a process has on disk.
type sampler struct {
	pid    int
	folder string
	stop   context.CancelFunc
	done   sync.WaitGroup

	// set once done
	samples int
	peak    int64
	err     error
}

// sample starts a sampler.
func sample(pid int, folder string) *sampler {
	s := &sampler{pid: pid, folder: folder}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.done.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for s.err == nil {
			select {
			case <-tick.C:
				s.look()
			case <-ctx.Done():
				return
			}
		}
	})
	return s
}

func (s *sampler) look() {
	n, err := onDisk(s.pid, s.folder)
	if err != nil {
		s.err = err
		return
	}
	s.samples++
	s.peak = max(s.peak, n)
}

// end stops the sampler. It returns the peak and the last value, in bytes.
func (s *sampler) end(t *testing.T) (peak, last int64) {
	t.Helper()
	s.stop()
	s.done.Wait()
	last, err := onDisk(s.pid, s.folder)
	if err := errors.Join(s.err, err); err != nil {
		t.Fatal(err)
	}
	return s.peak, last
}

// wantEmpty checks that a folder has no files, with names or without.
func wantEmpty(t *testing.T, pid int, folder string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := onDisk(pid, folder); err != nil || n != 0 || len(entries) != 0 {
		t.Errorf("%s: %d bytes in files without a name, and %v; error %v", folder, n, entries, err)
	}
}
