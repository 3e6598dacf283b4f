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
	Reads    int64         // calls that read, from files and connections
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
	io, err := linesOf(fmt.Sprintf("/proc/%d/io", pid), "write_bytes", "syscr")
	if err != nil {
		return u, err
	}
	// Both out of one reading, or a peak may be below what is resident by then.
	memory, err := linesOf(fmt.Sprintf("/proc/%d/status", pid), "VmRSS", "VmHWM")
	if err != nil {
		return u, err
	}
	u.Written, u.Reads, u.Resident, u.Peak = io[0], io[1], memory[0]<<10, memory[1]<<10
	return u, nil
}

// linesOf are the numbers behind names in a file of lines.
func linesOf(path string, names ...string) ([]int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	said := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, ":")
		said[name], _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	}
	numbers := make([]int64, len(names))
	for i, name := range names {
		if numbers[i], err = strconv.ParseInt(said[name], 10, 64); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", name, path, err)
		}
	}
	return numbers, nil
}

// ForgetPeak has a process's peak begin anew.
func ForgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
