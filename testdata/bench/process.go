package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// usage is what a process has used, as the system says (proc(5)).
type usage struct {
	cpu     time.Duration // user and system, of children that it has waited for as well
	written int64         // bytes that it has caused to be written to a disk
	peak    int64         // resident, in bytes
}

// clockTick is the unit of /proc/PID/stat on every Linux there is.
const clockTick = 10 * time.Millisecond

func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, ticks := range fields[11:15] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * clockTick
	}
	if u.written, err = lineOf(fmt.Sprintf("/proc/%d/io", pid), "write_bytes:"); err != nil {
		return u, err
	}
	kib, err := lineOf(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
	u.peak = kib << 10
	return u, err
}

// lineOf is the number behind a name in a file of lines.
func lineOf(path, name string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s says nothing of %s", path, name)
}

// forgetPeak has the peak begin anew.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// diskWatch looks how much there is in a folder, while something goes on.
type diskWatch struct {
	peak  int64
	end   chan struct{}
	ended sync.WaitGroup
}

func watchDisk(folder string) *diskWatch {
	w := &diskWatch{end: make(chan struct{})}
	w.ended.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			w.peak = max(w.peak, inFolder(folder))
			select {
			case <-tick.C:
			case <-w.end:
				return
			}
		}
	})
	return w
}

// stop ends it and returns the most that there was, in bytes.
func (w *diskWatch) stop() int64 {
	close(w.end)
	w.ended.Wait()
	return w.peak
}

// inFolder is how many bytes the files in a folder have. Some may go meanwhile.
func inFolder(folder string) (total int64) {
	_ = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
