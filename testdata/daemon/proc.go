package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used, as the system says (proc(5)).
type Usage struct {
	CPU      time.Duration // user and system, of children that it has waited for as well
	Written  int64         // bytes that it has caused to be written to a disk
	Resident int64         // bytes
	Peak     int64         // most that was resident, in bytes
}

// clockTick is the unit of /proc/PID/stat on every Linux there is.
const clockTick = 10 * time.Millisecond

// UsageOf is what a process has used by now.
func UsageOf(pid int) (u Usage, err error) {
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
		u.CPU += time.Duration(n) * clockTick
	}
	if u.Written, err = lineOf(fmt.Sprintf("/proc/%d/io", pid), "write_bytes:"); err != nil {
		return u, err
	}
	for name, bytes := range map[string]*int64{"VmRSS:": &u.Resident, "VmHWM:": &u.Peak} {
		kib, err := lineOf(fmt.Sprintf("/proc/%d/status", pid), name)
		if err != nil {
			return u, err
		}
		*bytes = kib << 10
	}
	return u, nil
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

// ForgetPeak has a process's peak begin anew.
func ForgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
