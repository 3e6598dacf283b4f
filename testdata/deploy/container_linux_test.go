//go:build delivery

package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	unitFile = "../../deploy/systemd/spillway.service"
	userFile = "../../deploy/systemd/spillway.sysusers"

	// bootTimeout is what systemd needs on a busy machine.
	bootTimeout = 2 * time.Minute
)

// container is a container of systemd-nspawn with systemd as its first process. It has this
// machine's programs and network, and files of its own elsewhere.
type container struct {
	root   string // its root folder
	nspawn *exec.Cmd
	output bytes.Buffer // of nspawn, complete once it has ended
	first  int          // the number of systemd's process
}

// run runs a program of this machine, which the test needs.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// newContainer makes the files of a container in which Spillway is installed as
// docs/deploying.md says.
func newContainer(t *testing.T, binary string) *container {
	t.Helper()
	c := &container{root: t.TempDir()}
	for _, folder := range []string{"proc", "sys", "dev", "run", "tmp", "root", "var/log/journal", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/share", "usr/local/bin", "etc/systemd/system", "etc/sysusers.d", "etc/spillway"} {
		if err := os.MkdirAll(filepath.Join(c.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+folder, filepath.Join(c.root, folder)); err != nil {
			t.Fatal(err)
		}
	}
	c.write(t, "etc/machine-id", "", 0o644)
	c.write(t, "etc/os-release", "ID=test\n", 0o644)
	c.write(t, "etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644)
	c.write(t, "etc/group", "root:x:0:\n", 0o644)
	run(t, "cp", binary, filepath.Join(c.root, "usr/local/bin/spillway"))
	run(t, "cp", unitFile, filepath.Join(c.root, "etc/systemd/system/spillway.service"))
	run(t, "cp", userFile, filepath.Join(c.root, "etc/sysusers.d/spillway.conf"))
	run(t, "systemd-sysusers", "--root="+c.root)
	return c
}

// write writes a file of the container.
func (c *container) write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	path = filepath.Join(c.root, path)
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// boot starts systemd, which starts nothing but Spillway and what that needs. The container
// ends with the test.
func (c *container) boot(t *testing.T) {
	t.Helper()
	args := []string{"--directory=" + c.root, "--boot", "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no", "--quiet"}
	for _, folder := range []string{"bin", "sbin", "lib", "lib64", "share"} {
		args = append(args, "--bind-ro=/usr/"+folder)
	}
	c.nspawn = exec.CommandContext(context.WithoutCancel(t.Context()), "systemd-nspawn", append(args, "systemd.unit=spillway.service")...)
	c.nspawn.Stdout, c.nspawn.Stderr = &c.output, &c.output
	c.nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.nspawn.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.nspawn.Wait() }()
	t.Cleanup(func() {
		kill := c.nspawn.Process.Kill
		if c.first != 0 {
			kill = func() error { return syscall.Kill(c.first, syscall.SIGKILL) } // and with it all in the container
		}
		err := errors.Join(kill(), <-ended)
		if t.Failed() {
			t.Logf("nspawn: %v\n%s", err, c.output.String())
		}
	})
	c.first = c.findFirst(t)
}

// findFirst waits for systemd's process, which is nspawn's child.
func (c *container) findFirst(t *testing.T) int {
	t.Helper()
	children := fmt.Sprintf("/proc/%d/task/%d/children", c.nspawn.Process.Pid, c.nspawn.Process.Pid)
	for end := time.Now().Add(bootTimeout); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(children)
		if err != nil {
			t.Fatal(err)
		}
		for child := range strings.FieldsSeq(string(text)) {
			if name, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && strings.TrimSpace(string(name)) == "systemd" {
				first, err := strconv.Atoi(child)
				if err != nil {
					t.Fatal(err)
				}
				return first
			}
		}
	}
	t.Fatal("systemd does not start")
	return 0
}

// exec runs a command in the container and returns its output and its error.
func (c *container) exec(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"--target=" + strconv.Itoa(c.first), "--mount", "--uts", "--ipc", "--pid", "--root", "--wd=/", "--"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// property returns a property of the service.
func (c *container) property(t *testing.T, name string) string {
	t.Helper()
	out, err := c.exec(t.Context(), "systemctl", "show", "--value", "--property="+name, "spillway.service")
	if err != nil {
		return "" // systemd is not ready
	}
	return out
}

// await waits until a property of the service has a value.
func (c *container) await(t *testing.T, name, want string) {
	t.Helper()
	var got string
	for end := time.Now().Add(bootTimeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got = c.property(t, name); got == want {
			return
		}
	}
	t.Fatalf("%s is %q, want %q\n%s", name, got, want, c.journal(t))
}

// journal returns the last lines that the service and systemd wrote about it.
func (c *container) journal(t *testing.T) string {
	t.Helper()
	out, _ := c.exec(t.Context(), "journalctl", "--unit=spillway.service", "--no-pager", "--lines=50", "--output=cat")
	return out
}

// systemctl runs a command of systemctl for the service.
func (c *container) systemctl(t *testing.T, command string) {
	t.Helper()
	if out, err := c.exec(t.Context(), "systemctl", command, "spillway.service"); err != nil {
		t.Fatalf("systemctl %s: %v: %s\n%s", command, err, out, c.journal(t))
	}
}
