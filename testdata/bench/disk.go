package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

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
