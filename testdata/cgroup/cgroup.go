// Package cgroup bounds the memory of a process, as a container does (Linux
// kernel, "Control Group v2", section "Memory", and "Memory Resource Controller"
// for version 1). It needs root.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// names are the files of one version of the interface.
type names struct {
	root, limit, peak, events string
}

var (
	version1 = names{root: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", peak: "memory.max_usage_in_bytes", events: "memory.oom_control"}
	version2 = names{root: "/sys/fs/cgroup", limit: "memory.max", peak: "memory.peak", events: "memory.events"}
)

// A Group bounds the memory of the processes in it.
type Group struct {
	names
	path string
}

// New makes a group whose processes may have limit bytes together, page cache
// included. The system kills one that needs more. The caller closes the group.
func New(limit int64) (*Group, error) {
	g := &Group{names: version2}
	if _, err := os.Stat(filepath.Join(version1.root, version1.limit)); err == nil {
		g.names = version1
	}
	var err error
	if g.path, err = os.MkdirTemp(g.root, "spillway-"); err != nil {
		return nil, fmt.Errorf("making a control group: %w", err)
	}
	if err := g.write(g.limit, limit); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// procs is the file that processes are added with.
const procs = "cgroup.procs"

// Add moves a process into the group.
func (g *Group) Add(pid int) error { return g.write(procs, int64(pid)) }

// Procs returns the path of the file to which a process writes its number, or 0, to enter the
// group.
func (g *Group) Procs() string { return filepath.Join(g.path, procs) }

// Peak is the most memory that the group had at once, in bytes, page cache included.
func (g *Group) Peak() (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.path, g.peak))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// Killed is how many processes the system has killed for want of memory.
func (g *Group) Killed() (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.path, g.events))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseInt(strings.TrimSpace(count), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no oom_kill", g.events)
}

// Close removes the group, whose processes have ended.
func (g *Group) Close() error {
	err := os.Remove(g.path)
	for range 100 { // the system takes a moment to notice that a process has ended
		if err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
		err = os.Remove(g.path)
	}
	return err
}

func (g *Group) write(name string, value int64) error {
	return os.WriteFile(filepath.Join(g.path, name), []byte(strconv.FormatInt(value, 10)), 0)
}
