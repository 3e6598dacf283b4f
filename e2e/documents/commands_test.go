//go:build unix

package documents

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"spillway/testdata/client"
)

// What the comment before a block in the language sh may say:
//
//	<!-- not run: REASON -->   the test does not run it
//	<!-- until URL -->         it runs on, in a terminal of its own, like a server. It is ended
//	                           by the next block with the same URL. The next block runs once
//	                           there is an answer from the URL.
//
// Blocks without a comment run one after the other, in one shell. A block in the language
// text, directly after one that runs, is what that prints.
var (
	notRun  = regexp.MustCompile(`^not run: \S`)
	runsOn  = regexp.MustCompile(`^until (http://\S+)$`)
	numbers = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-f]*`)
)

// TestCommands runs the commands of each document in a copy of the repository, as the
// document's reader would.
func TestCommands(t *testing.T) {
	clone := filepath.Join(t.TempDir(), "spillway") // one folder, so that packages are compiled once
	ran := 0
	for _, d := range read(t) {
		runs := false
		for _, b := range d.blocks {
			runs = runs || b.language == "sh" && !notRun.MatchString(b.note)
		}
		if !runs {
			continue
		}
		ran++
		t.Run(d.path, func(t *testing.T) { d.run(t, clone) })
	}
	if ran < 2 {
		t.Errorf("only %d documents have commands that run", ran)
	}
}

// run runs the commands of the document in one shell, in a new copy of the repository.
func (d document) run(t *testing.T, clone string) {
	ports := freePorts(t)
	folder := t.TempDir()
	copyRepository(t, clone)
	defer os.RemoveAll(clone)
	script := ports.Replace(d.script(folder))
	c := exec.CommandContext(client.Within(t), "bash", "-c", script)
	c.Dir = clone
	c.Env = append(os.Environ(), ports.environment(t, folder)...)
	// One group, so that none outlives a test that takes too long.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		logs, _ := filepath.Glob(filepath.Join(folder, "out-*"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), text)
		}
		t.Fatalf("%v\n%s", err, &out)
	}
	for i, b := range d.blocks {
		if i > 0 && b.language == "text" && d.blocks[i-1].language == "sh" && !notRun.MatchString(d.blocks[i-1].note) {
			printed, err := os.ReadFile(d.blocks[i-1].output(folder))
			if err != nil {
				t.Fatal(err)
			}
			b.compare(t, d, string(printed))
		}
	}
}

// output is the file with what a block prints.
func (b block) output(folder string) string {
	return filepath.Join(folder, fmt.Sprintf("out-%03d", b.line))
}

// preamble defines start, which runs a file in the background until the address answers. It
// ends what start has run for that address before.
const preamble = `
set -euo pipefail
all=
end() { pkill -TERM -P "$1" || true; wait "$1" 2>/dev/null || true; }
trap 'for job in $all; do end "$job"; done' EXIT
trap 'echo "the block at line $where failed" >&2' ERR
start() {
	name=job_${1//[^a-z0-9]/_}
	[ -z "${!name:-}" ] || end "${!name}"
	bash -euo pipefail "$2" >"$3" 2>&1 </dev/null &
	printf -v "$name" %s $!
	all="$all $!"
	until curl --silent --output /dev/null "$1"; do
		kill -0 "${!name}" # fails if it has ended
		sleep 0.05
	done
}
`

// script returns the commands of the document as a script. folder is for files.
func (d document) script(folder string) string {
	var s strings.Builder
	s.WriteString(preamble)
	for _, b := range d.blocks {
		if b.language != "sh" || notRun.MatchString(b.note) {
			continue
		}
		fmt.Fprintf(&s, "where=%d\n", b.line)
		if url := runsOn.FindStringSubmatch(b.note); url != nil {
			file := b.output(folder) + ".sh"
			fmt.Fprintf(&s, "cat >'%s' <<'END OF BLOCK'\n%sEND OF BLOCK\nstart '%s' '%s' '%s'\n", file, b.text, url[1], file, b.output(folder))
			continue
		}
		fmt.Fprintf(&s, "{\n%s} >'%s' 2>&1 </dev/null\n", b.text, b.output(folder))
	}
	return s.String()
}

// compare checks that each line of the block was printed. Numbers and digests may differ, and
// … stands for anything.
func (b block) compare(t *testing.T, d document, printed string) {
	t.Helper()
	for line := range strings.Lines(b.text) {
		line = strings.TrimSpace(line)
		pattern := numbers.ReplaceAllString(regexp.QuoteMeta(line), `[0-9a-f]+`)
		pattern = strings.ReplaceAll(pattern, "…", ".*")
		if line != "" && !regexp.MustCompile(pattern).MatchString(printed) {
			t.Errorf("%s, line %d: the commands do not print %q, but\n%s", d.path, b.line, line, printed)
		}
	}
}

// TestNotes: the comment before a block is one of those that [TestCommands] knows, or says
// nothing of commands.
func TestNotes(t *testing.T) {
	for _, d := range read(t) {
		for _, b := range d.blocks {
			if b.language == "sh" && b.note != "" && !notRun.MatchString(b.note) && !runsOn.MatchString(b.note) {
				t.Errorf("%s, line %d: a comment that is not known: %s", d.path, b.line, b.note)
			}
			if b.language == "bash" || b.language == "shell" || b.language == "console" {
				t.Errorf("%s, line %d: the language is sh, not %s", d.path, b.line, b.language)
			}
		}
	}
}
