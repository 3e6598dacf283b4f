package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"spillway/testdata/daemon"
)

// share is how much of the CPU time something took.
type share struct {
	Name    string  `json:"name"`
	Percent float64 `json:"percent"`
}

// kinds are what functions are put down to, by what their names begin with. The
// first that fits counts.
var kinds = []struct {
	name     string
	prefixes []string
}{
	{"inflate", []string{"spillway/stream/inflate"}},
	{"MD5", []string{"crypto/md5"}},
	{"CRC-32", []string{"hash/crc32"}},
	{"system calls", []string{"internal/runtime/syscall", "syscall.", "runtime/internal/syscall"}},
	{"copying", []string{"runtime.memmove", "runtime.memclr"}},
	{"collecting garbage", []string{"runtime.gc", "runtime.scan", "runtime.mark", "runtime.sweep", "runtime.(*mspan", "runtime.(*gc", "runtime.bgsweep", "runtime.greyobject"}},
	{"scheduling and allocating", []string{"runtime.", "internal/runtime/"}},
	{"HTTP and the SDK", []string{"net.", "net/", "bufio.", "internal/poll", "github.com/aws/"}},
	{"the rest", []string{""}},
}

// profile is where the CPU time of an upload goes. It leaves the profile itself
// in a folder.
func (s *service) profile(ctx context.Context, folder string, w work) ([]share, error) {
	say("%s: profile", w.Name)
	// An upload says how long the next one takes. An idle process adds nothing to a profile.
	took, _, err := upload(ctx, s.API, w.Path)
	if err != nil {
		return nil, err
	}
	seconds := int(took.Seconds()) + 2
	uploaded := make(chan error, 1)
	go func() {
		_, _, err := upload(ctx, s.API, w.Path)
		uploaded <- err
	}()
	data, err := daemon.Get(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", s.Admin, seconds))
	if err != nil {
		return nil, err
	}
	if err := <-uploaded; err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "cpu.pprof")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=2000", "-nodefraction=0", file).Output()
	if err != nil {
		return nil, err
	}
	return byKind(string(out)), nil
}

// byKind sums the lines of pprof's -top up: flat, flat%, sum%, cum, cum%, name.
func byKind(top string) []share {
	percent := map[string]float64{}
	_, rows, _ := strings.Cut(top, "flat%")
	for line := range strings.Lines(rows) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSuffix(fields[1], "%"), 64)
		if err != nil {
			continue
		}
		for _, k := range kinds {
			if slices.ContainsFunc(k.prefixes, func(p string) bool { return strings.HasPrefix(fields[5], p) }) {
				percent[k.name] += value
				break
			}
		}
	}
	var all []share
	for name, p := range percent {
		all = append(all, share{name, p})
	}
	slices.SortFunc(all, func(a, b share) int { return cmp.Compare(b.Percent, a.Percent) })
	return all
}
