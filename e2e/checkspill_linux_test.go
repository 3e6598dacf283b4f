package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spillway/testdata/cgroup"
	"spillway/testdata/client"
	"spillway/testdata/keeper"
	"spillway/testdata/tmpfs"
)

// mountTmpfs mounts a file system in memory, until the test ends.
func mountTmpfs(t *testing.T, size int64) *tmpfs.FS {
	t.Helper()
	disk, err := tmpfs.Mount(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// mountIn mounts a file system at a new folder, until the test ends. The script mounts it at
// $1/mnt, and may use $1 for its image.
func mountIn(t *testing.T, script string) (path string) {
	t.Helper()
	folder := t.TempDir()
	k, err := keeper.Start(`mkdir "$1/mnt" && `+script+` || exit
echo ready
read -r _
umount -l "$1/mnt"`, folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(folder, "mnt")
}

// TestCheckOfSpillFolders has spill folders with something wrong.
func TestCheckOfSpillFolders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		folder                     func(t *testing.T) string
		row, status, found, remedy string
	}{
		"on a disk": {func(t *testing.T) string { return t.TempDir() }, "spill", "ok", "files can be made without a name, allocated, written and given back", ""},
		"in memory": {func(t *testing.T) string { return mountTmpfs(t, 64<<20).Path }, "spill", "warning", "is in memory (tmpfs)", "a folder on a disk"},
		"full": {func(t *testing.T) string {
			disk := mountTmpfs(t, 1<<20)
			if _, err := disk.Fill(0); err != nil {
				t.Fatal(err)
			}
			return disk.Path
		}, "spill", "error", "no space left on device", "Free space"},
		"too little space": {func(t *testing.T) string { return mountTmpfs(t, 16<<20).Path }, "spill space", "error", "less than --spill-min-free (1GiB)", "Free space"},
		"read-only": {func(t *testing.T) string {
			disk := mountTmpfs(t, 16<<20)
			if err := disk.Remount(t.Context(), "ro"); err != nil {
				t.Fatal(err)
			}
			return disk.Path
		}, "spill", "error", "read-only file system", "writable"},
		"cannot allocate": {func(t *testing.T) string { return mountIn(t, `mount -t ramfs spillway-test "$1/mnt"`) }, "spill", "error", "operation not supported", "ext4, XFS"},
		"on ext2": {func(t *testing.T) string {
			return mountIn(t, `truncate -s 16M "$1/image" && mkfs.ext2 -q -F "$1/image" && mount -o loop "$1/image" "$1/mnt"`)
		}, "spill", "error", "operation not supported", "ext4, XFS"},
		"of a container": {func(t *testing.T) string {
			return mountIn(t, `mkdir "$1/l" "$1/u" "$1/w" && mount -t overlay -o "lowerdir=$1/l,upperdir=$1/u,workdir=$1/w" spillway-test "$1/mnt"`)
		}, "spill", "ok", "Overlay is a container's own layer", ""},
		"missing": {func(*testing.T) string { return "/no/such/folder" }, "spill", "error", "no such file or directory", "Make the folder"},
		"a file":  {func(*testing.T) string { return "/dev/null" }, "spill", "error", "not a directory", "to a folder"},
		"that does not answer": {func(t *testing.T) string {
			path, _ := mountHung(t)
			return path
		}, "spill", "error", "does not answer", "does not respond"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := c.folder(t)
			_, r := runCheck(t, nil, "--dev", "--spill-dir="+folder)
			row := r.row(t, c.row)
			if row.Status != c.status || !strings.Contains(row.Found, c.found) || !strings.Contains(row.Remedy, c.remedy) || c.status == "ok" && row.Remedy != "" {
				t.Errorf("%+v", row)
			}
			if c.status == "error" && c.row == "spill" && !strings.Contains(row.Remedy, "--spill-quota 0") {
				t.Errorf("%+v", row)
			}
			if m := r.row(t, "memory"); m.Status != "ok" || strings.Contains(m.Found, "the spill folder, which is in memory") != (name == "in memory" || name == "too little space") {
				t.Errorf("%+v", m)
			}
			if len(r.failing("s3")) > 0 {
				t.Errorf("the store: %+v", r.failing("s3"))
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		_, r := runCheck(t, nil, "--dev", "--spill-dir=/no/such/folder", "--spill-quota=0")
		if row := r.row(t, "spill"); row.Status != "ok" || !strings.Contains(row.Found, "--spill-quota is 0") {
			t.Errorf("%+v", row)
		}
	})
}

// TestStartWarnsOfASpillFolderInMemory: the start says what the check says.
func TestStartWarnsOfASpillFolderInMemory(t *testing.T) {
	t.Parallel()
	d := start(t, nil, append(noStore, "--spill-dir="+mountTmpfs(t, 2<<30).Path)...)
	awaitLog(t, d, `"level":"warn"`, "start check", `"check":"spill"`, "is in memory (tmpfs)", "a folder on a disk")
}

// TestCheckOfLimits has limits of the process that are too low for the settings. A shell lowers
// them, and then becomes the program. Where no control group can be made, only TestMemoryLimit
// tests the limits of these.
func TestCheckOfLimits(t *testing.T) {
	t.Parallel()
	enter := ""
	if group, err := cgroup.New(300 << 20); err != nil {
		t.Logf("only with files like those of control groups: %v", err)
	} else {
		enter = "echo 0 >" + group.Procs()
		t.Cleanup(func() {
			if err := group.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for name, c := range map[string]struct {
		lower, flag                string
		row, status, found, remedy string
	}{
		"files":                 {"ulimit -n 100", "--dev", "files", "warning", "it is 100, and up to 3648 are needed", "ulimit -n"},
		"memory":                {enter, "--memory=256MiB", "memory", "warning", "and up to 386 MiB are needed", "MemoryMax="},
		"memory for the budget": {enter, "--memory=400MiB", "memory", "error", "300 MiB (/sys/fs/cgroup/", "MemoryMax="},
		"enough memory":         {enter, "--memory=100MiB", "memory", "ok", "is 300 MiB (/sys/fs/cgroup/", ""},
	} {
		if c.lower == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			binary, err := checked()
			if err != nil {
				t.Fatal(err)
			}
			script := c.lower + ` && exec "$@"`
			status, stdout, stderr, err := finish(exec.CommandContext(client.Within(t), "/bin/sh", "-c", script, "sh", binary,
				"check", "--json", "--dev", "--spill-dir="+t.TempDir(), c.flag), nil)
			var r checkReport
			if err = errors.Join(err, json.Unmarshal([]byte(stdout), &r)); err != nil {
				t.Fatalf("status %d, %q, %q: %v", status, stdout, stderr, err)
			}
			row := r.row(t, c.row)
			if row.Status != c.status || !strings.Contains(row.Found, c.found) || !strings.Contains(row.Remedy, c.remedy) || (status == statusFailed) != (c.status == "error") {
				t.Errorf("status %d, %+v", status, row)
			}
		})
	}
}
