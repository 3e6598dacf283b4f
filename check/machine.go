package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"spillway/health"
	"spillway/internal/s3event"
	"spillway/settings"
	"spillway/stream/budget"
)

const (
	// overhead is the most memory that the process takes besides --memory, in bytes.
	overhead = 130 << 20

	// clockTolerance is how far the clock may be from the store's before it is a warning.
	// S3 refuses requests at 15 minutes.
	clockTolerance = time.Minute

	// promptAnswer is how long an attempt may take whose answer says what time it is.
	promptAnswer = 10 * time.Second
)

// Settings judges the settings themselves. They are complete.
func Settings(s *settings.Serve) Result {
	r := Result{Name: "settings", Found: "They are valid."}
	switch {
	case s.DownloadAny:
		r.Level = health.Warning
		r.Found = "--download-any is for development: whoever has a token can make this machine fetch from any host, private ones included."
		r.Remedy = "Name the hosts in --download-domains instead."
	case s.Dev:
		r.Found = "They are valid. --dev is for development: everybody knows its tokens."
	}
	return r
}

// Invalid is the result of a check for settings that cannot be used. The error names them.
func Invalid(name string, err error) Result {
	return Result{Name: name, Level: health.Error, Found: err.Error() + ".", Remedy: "Fix the setting: the start would fail with it."}
}

// Files judges the limit of file descriptors. connections is how many the servers may have
// open besides those of uploads.
func Files(s *settings.Serve, connections int) Result {
	r := Result{Name: "files"}
	_, limit, err := OpenFiles()
	if err != nil {
		return unknown(r, err)
	}
	return judgeFiles(r, limit, filesNeeded(s, connections))
}

func judgeFiles(r Result, limit, needed int) Result {
	r.Found = fmt.Sprintf("The limit of file descriptors is %d. The settings need up to %d.", limit, needed)
	if limit < needed {
		r.Level = health.Warning
		r.Found = fmt.Sprintf("The limit of file descriptors is too low for --max-uploads and --s3-concurrency: it is %d, and up to %d are needed.", limit, needed)
		r.Remedy = "Raise it (ulimit -n, LimitNOFILE=), or lower these settings. Otherwise connections wait and uploads get a 503."
	}
	return r
}

// otherFiles is how many file descriptors the process needs besides those that depend on
// settings: for 256 uploads that wait for their turn, listeners, the log, the tokens file
// and debuggers.
const otherFiles = 256 + 64

// filesNeeded returns how many file descriptors the process may need: for connections
// without an upload, uploads, requests to S3, and two spill files for each upload.
func filesNeeded(s *settings.Serve, connections int) int {
	needed := connections + s.MaxUploads + s.S3Concurrency + otherFiles
	if s.SpillQuota > 0 {
		needed += 2 * s.MaxUploads
	}
	return needed
}

// Memory judges the memory limit of the process. A spill folder in memory adds to what is
// needed.
func Memory(s *settings.Serve, spill Spill) Result {
	r := Result{Name: "memory"}
	limit, err := memoryLimit(os.DirFS("/"))
	if err != nil {
		return unknown(r, err)
	}
	return judgeMemory(r, s, spill, limit)
}

func judgeMemory(r Result, s *settings.Serve, spill Spill, limit MemoryLimit) Result {
	needed, sum := int64(s.Memory)+overhead, "--memory and 130 MiB"
	if spill.Traits.InMemory {
		needed += min(int64(s.SpillQuota), spill.Free)
		sum += ", and the spill folder, which is in memory"
	}
	r.Found = fmt.Sprintf("The memory limit is %s (%s). Up to %s are needed: %s.", size(limit.Bytes), limit.Of, size(needed), sum)
	if limit.Bytes >= needed {
		return r
	}
	r.Level = health.Warning
	if limit.Bytes < int64(s.Memory) {
		r.Level = health.Error
	}
	r.Found = fmt.Sprintf("The memory limit is too low: %s (%s), and up to %s are needed: %s.", size(limit.Bytes), limit.Of, size(needed), sum)
	r.Remedy = "Raise the limit of the container or the unit (MemoryMax=), or lower --memory. Otherwise the system may kill the process under load."
	return r
}

// Spill is what is known of the spill folder.
type Spill struct {
	Traits budget.DiskTraits
	Free   int64 // bytes
	Err    error // the folder cannot be used; nil: it can
}

// Results judges the spill folder: whether it works, and how much space there is.
func (f Spill) Results(s *settings.Serve) []Result {
	r := Result{Name: "spill"}
	if s.SpillQuota == 0 {
		r.Found = "--spill-quota is 0: the disk is not used. Archives that need it are refused unless they are small."
		return []Result{r}
	}
	if f.Err != nil {
		r.Level, r.Detail = health.Error, f.Err.Error()
		r.Found = fmt.Sprintf("%s cannot be used: %s.", s.SpillDir, reason(f.Err))
		r.Remedy = diskRemedy(f.Err)
		return []Result{r}
	}
	how := "without a name"
	if !f.Traits.Nameless {
		how = "with a name that is removed at once, because there is no O_TMPFILE"
	}
	r.Found = fmt.Sprintf("%s is on %s: files can be made %s, allocated, written and given back in pieces.", s.SpillDir, f.Traits.FileSystem, how)
	switch {
	case f.Traits.InMemory:
		r.Level = health.Warning
		r.Found = fmt.Sprintf("%s is in memory (%s): what archives take there is in no budget but --spill-quota (%v).", s.SpillDir, f.Traits.FileSystem, s.SpillQuota)
		r.Remedy = "Set --spill-dir to a folder on a disk. Or allow for --spill-quota in the memory limit, too."
	case f.Traits.FileSystem == "overlay":
		r.Found += " Overlay is a container's own layer, mostly: a volume is faster, and its space is known."
	}
	return []Result{r, f.space(s)}
}

func (f Spill) space(s *settings.Serve) Result {
	r := Result{Name: "spill space"}
	r.Found = fmt.Sprintf("%s are free in %s, for --spill-quota (%v) and --spill-min-free (%v).", size(f.Free), s.SpillDir, s.SpillQuota, s.SpillMinFree)
	switch {
	case f.Free < int64(s.SpillMinFree):
		r.Level = health.Error
		r.Found = fmt.Sprintf("%s are free in %s, less than --spill-min-free (%v): uploads that need the disk are refused, and /__lbheartbeat__ answers 503.", size(f.Free), s.SpillDir, s.SpillMinFree)
		r.Remedy = "Free space on the disk, or set --spill-dir to a folder with more."
	case f.Free < int64(s.SpillQuota)+int64(s.SpillMinFree):
		r.Level = health.Warning
		r.Found = fmt.Sprintf("--spill-quota (%v) and --spill-min-free (%v) together exceed the free space of %s, which is %s: uploads will be refused before the quota is used up.", s.SpillQuota, s.SpillMinFree, s.SpillDir, size(f.Free))
		r.Remedy = "Lower --spill-quota, or free space on the disk."
	}
	return r
}

// diskRemedy says what to do about an error of the spill folder.
func diskRemedy(err error) string {
	for _, c := range []struct {
		err    error
		remedy string
	}{
		{budget.ErrDiskHangs, "Check the device or the mount: it does not respond."},
		{syscall.ENOSPC, "Free space on the disk, and look for free inodes (df -i)."},
		{syscall.EDQUOT, "Raise the disk quota of the user that Spillway runs as."},
		{syscall.EROFS, "Mount it writable, or set --spill-dir to a folder that is."},
		{fs.ErrPermission, "Let the user that Spillway runs as write there."},
		{fs.ErrNotExist, "Make the folder, or set --spill-dir to one that exists."},
		{syscall.ENOTDIR, "Set --spill-dir to a folder."},
		{errors.ErrUnsupported, "Set --spill-dir to a folder on ext4, XFS, Btrfs or ZFS."},
	} {
		if errors.Is(err, c.err) {
			return c.remedy + " Or turn the disk off: --spill-quota 0."
		}
	}
	if _, full := errors.AsType[*budget.QuotaError](err); full {
		return "Free space on the disk. Or turn the disk off: --spill-quota 0."
	}
	return "Check the file system. Or turn the disk off: --spill-quota 0."
}

// ClockAhead returns how far this machine's clock is ahead of the store's, as an answer that
// has just come shows it. It reports false if the answer does not say.
func ClockAhead(a s3event.Attempt) (time.Duration, bool) {
	if a.Date.IsZero() || a.Took > promptAnswer {
		return 0, false
	}
	return time.Since(a.Date.Add(a.Took / 2)), true
}

// Clock judges this machine's clock.
func Clock(ahead time.Duration) Result {
	off, word := ahead.Abs().Round(time.Second), "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	if ahead.Abs() < clockTolerance {
		return Result{Name: "clock", Found: "It agrees with S3's."}
	}
	return Result{
		Name: "clock", Level: health.Warning,
		Found:  fmt.Sprintf("This machine's clock is %v %s S3's.", off, word),
		Remedy: "Set the clock (NTP). S3 refuses requests that are off by 15 minutes, unless the AWS SDK can correct for it. Tokens expire at the wrong time.",
	}
}

// unknown is the result of a check that cannot be made.
func unknown(r Result, err error) Result {
	r.Level, r.Found, r.Detail = health.Unknown, "It cannot be checked here: "+reason(err)+".", err.Error()
	return r
}

// reason returns the system's text for err, without the paths around it.
func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
