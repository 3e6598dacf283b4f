package check

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"
)

// Lines of mountinfo and of cgroup.
const (
	mountV1     = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	mountV2     = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	mountOther  = "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n23 1 254:0 / / rw - ext4 /dev/vda rw\n"
	mountDocker = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
	mountBlank  = `30 23 0:26 / /run/c\040g rw - cgroup2 cgroup2 rw` + "\n"

	unlimitedV1 = "9223372036854771712\n"
)

// TestMemoryLimit has machines with 8 GiB, and control groups of both versions.
func TestMemoryLimit(t *testing.T) {
	const machine, mib = "this machine", 1 << 20
	for name, c := range map[string]struct {
		mounts, groups string
		files          map[string]string
		bytes          int64
		of             string
	}{
		"no group": {mountOther, "3:cpuset:/\n", nil, 8 << 30, machine},
		"version 1": {
			mountOther + mountV1, "4:memory:/a/b\n3:cpuset:/\n",
			map[string]string{"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "104857600\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": unlimitedV1},
			100 * mib, "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
		},
		"version 1, without a limit": {
			mountV1, "4:memory:/a\n", map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": unlimitedV1}, 8 << 30, machine,
		},
		"version 2": {
			mountV2, "0::/a.slice/b.service\n",
			map[string]string{"sys/fs/cgroup/a.slice/b.service/memory.max": "209715200\n", "sys/fs/cgroup/a.slice/b.service/memory.high": "max\n"},
			200 * mib, "/sys/fs/cgroup/a.slice/b.service/memory.max",
		},
		"version 2, the limit is soft": {
			mountV2, "0::/a\n",
			map[string]string{"sys/fs/cgroup/a/memory.max": "209715200\n", "sys/fs/cgroup/a/memory.high": "104857600\n"},
			100 * mib, "/sys/fs/cgroup/a/memory.high",
		},
		"version 2, the limit is of the group around it": {
			mountV2, "0::/a/b/c\n",
			map[string]string{"sys/fs/cgroup/a/memory.max": "104857600\n", "sys/fs/cgroup/a/b/c/memory.max": "max\n"},
			100 * mib, "/sys/fs/cgroup/a/memory.max",
		},
		"both versions": {
			mountV1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "4:memory:/m\n0::/\n",
			map[string]string{"sys/fs/cgroup/memory/m/memory.limit_in_bytes": "104857600\n"},
			100 * mib, "/sys/fs/cgroup/memory/m/memory.limit_in_bytes",
		},
		"a container, version 2": {mountV2, "0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "104857600\n"}, 100 * mib, "/sys/fs/cgroup/memory.max"},
		"a container, version 1, which sees the host's path": {
			mountDocker, "4:memory:/docker/abc\n", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n"}, 100 * mib, "/sys/fs/cgroup/memory/memory.limit_in_bytes",
		},
		"a group outside the mount": {
			mountV2, "0::/../../other\n", map[string]string{"sys/fs/cgroup/memory.max": "104857600\n"}, 100 * mib, "/sys/fs/cgroup/memory.max",
		},
		"a mount point with a blank":  {mountBlank, "0::/a\n", map[string]string{"run/c g/a/memory.max": "104857600\n"}, 100 * mib, "/run/c g/a/memory.max"},
		"a limit above the machine's": {mountV2, "0::/a\n", map[string]string{"sys/fs/cgroup/a/memory.max": "109951162777600\n"}, 8 << 30, machine},
		"garbage":                     {"\n - \nx", "::\n:\n", nil, 8 << 30, machine},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			files := map[string]string{"proc/meminfo": "MemFree: 1 kB\nMemTotal:        8388608 kB\n", "proc/self/mountinfo": c.mounts, "proc/self/cgroup": c.groups}
			maps.Copy(files, c.files)
			for path, text := range files {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
			if got, err := memoryLimit(root); err != nil || got.Bytes != c.bytes || got.Of != c.of {
				t.Errorf("%+v, error %v; want %d of %s", got, err, c.bytes, c.of)
			}
		})
	}
	if _, err := memoryLimit(fstest.MapFS{}); err == nil {
		t.Error("a system without /proc has a limit")
	}
	if _, err := totalMemory(fstest.MapFS{"proc/meminfo": {Data: []byte(strings.Repeat("x\n", 3))}}); err == nil {
		t.Error("a meminfo without MemTotal has one")
	}
}
