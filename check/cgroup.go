package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A MemoryLimit is the most memory that the process can have.
type MemoryLimit struct {
	Bytes int64
	Of    string // what sets it: a file of a control group, or the machine
}

// memoryLimit returns the lowest limit of the process's control groups, of both versions of
// their interface, and of the machine (Linux kernel, "Control Group v2", section "Memory",
// and "Memory Resource Controller"). root is the root of the file system.
func memoryLimit(root fs.FS) (MemoryLimit, error) {
	limit, err := totalMemory(root)
	if err != nil {
		return MemoryLimit{}, err
	}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit, err
	}
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return limit, err
	}
	for _, m := range cgroupMounts(mounts, groups) {
		// A limit of a group holds for those inside it.
		for folder := m.folder; ; folder = path.Dir(folder) {
			for _, name := range m.files {
				file := path.Join(folder, name)
				if n, ok := readLimit(root, file); ok && n < limit.Bytes {
					limit = MemoryLimit{n, file}
				}
			}
			if folder == m.mount || folder == "/" {
				break
			}
		}
	}
	return limit, nil
}

// readLimit reads a limit in bytes. It reports false if there is none. (Of version 1, it is
// then the largest number of pages.)
func readLimit(root fs.FS, file string) (int64, bool) {
	text, err := fs.ReadFile(root, strings.TrimPrefix(file, "/"))
	if err != nil {
		return 0, false // the root group has no such file
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n < math.MaxInt64>>1
}

// cgroupMount is where the process's memory group is, of one version of the interface.
type cgroupMount struct {
	mount  string   // the mount point
	folder string   // the group's, at or below the mount point
	files  []string // that have a limit
}

// cgroupMounts finds the process's groups. mounts and groups are the contents of its
// mountinfo and cgroup files (proc_pid_mountinfo(5), cgroups(7)).
func cgroupMounts(mounts, groups []byte) []cgroupMount {
	var found []cgroupMount
	for line := range bytes.Lines(mounts) {
		before, after, _ := strings.Cut(string(line), " - ")
		place, fileSystem := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(fileSystem) < 3 {
			continue
		}
		m := cgroupMount{mount: unescapeMount(place[4])}
		controller := ""
		switch options := strings.Split(fileSystem[2], ","); {
		case fileSystem[0] == "cgroup2":
			m.files = []string{"memory.max", "memory.high"}
		case fileSystem[0] == "cgroup" && slices.Contains(options, "memory"):
			controller, m.files = "memory", []string{"memory.limit_in_bytes"}
		default:
			continue
		}
		m.folder = m.mount
		// In a container, the path may be one of the host, which the mount point stands for.
		if inside, ok := cutFolder(groupOf(groups, controller), unescapeMount(place[3])); ok {
			m.folder = path.Join(m.mount, inside)
		}
		found = append(found, m)
	}
	return found
}

// groupOf returns the path of the group with that controller; empty: version 2.
func groupOf(groups []byte, controller string) string {
	for line := range bytes.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) == 3 && slices.Contains(strings.Split(parts[1], ","), controller) {
			return parts[2]
		}
	}
	return ""
}

// cutFolder returns name relative to folder. It reports false if name is not inside.
func cutFolder(name, folder string) (string, bool) {
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(folder, "/"))
	if !ok || rest != "" && !strings.HasPrefix(rest, "/") || strings.Contains(rest, "/..") {
		return "", false
	}
	return rest, true
}

// unescapeMount undoes the kernel's escapes of blanks and backslashes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// totalMemory returns the memory of the machine.
func totalMemory(root fs.FS) (MemoryLimit, error) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return MemoryLimit{}, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 54) // bytes fit then, too
			if err != nil {
				return MemoryLimit{}, fmt.Errorf("MemTotal: %w", err)
			}
			return MemoryLimit{n << 10, "this machine"}, nil
		}
	}
	return MemoryLimit{}, errors.New("/proc/meminfo has no MemTotal")
}
