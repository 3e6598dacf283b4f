package deploy

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"spillway/settings"
)

const (
	// exit is how long the program takes to exit after its drain timeout, at most.
	exit = 10 * time.Second

	// overhead is what the process takes besides --memory, at most.
	overhead = 130 << 20
)

// supervised is a file that sets the program's settings, and what its supervisor gives it.
type supervised struct {
	name     string
	settings string         // the file with lines such as SPILLWAY_MEMORY=256MiB
	file     string         // the file with the numbers
	grace    *regexp.Regexp // seconds before a SIGKILL
	memory   *regexp.Regexp // the memory limit
}

var supervisors = []supervised{
	{
		"systemd", "systemd/spillway.service", "systemd/spillway.service",
		regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`), regexp.MustCompile(`(?m)^MemoryMax=(\d+[MG])$`),
	},
	{
		"Kubernetes", "kubernetes/base/settings.env", "kubernetes/base/deployment.yaml",
		regexp.MustCompile(`(?m)^ *terminationGracePeriodSeconds: (\d+)$`), regexp.MustCompile(`(?m)^ *limits:\n *memory: (\d+[MG]i)$`),
	},
}

// setting matches a setting in a file.
var setting = regexp.MustCompile(`(?m)(?:^|[= ])(SPILLWAY_\w+)=(\S*)`)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNumbersFit: a supervisor gives the program the time and the memory that its settings
// need. `make kubernetes` compares more.
func TestNumbersFit(t *testing.T) {
	for _, s := range supervisors {
		values := map[string]string{"SPILLWAY_S3_BUCKET": "b"}
		for _, m := range setting.FindAllStringSubmatch(readFile(t, s.settings), -1) {
			values[m[1]] = m[2]
		}
		parsed, _, err := settings.Parse([]string{"serve"}, func(name string) string { return values[name] }, io.Discard)
		if err == nil {
			err = parsed.Serve.Complete()
		}
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		find := func(r *regexp.Regexp) string {
			found := r.FindAllStringSubmatch(readFile(t, s.file), -1)
			if len(found) != 1 {
				t.Fatalf("%s: %v matches %q", s.name, r, found)
			}
			return found[0][1]
		}
		need := parsed.Serve.DrainDelay + parsed.Serve.DrainTimeout + exit
		if grace, err := time.ParseDuration(find(s.grace) + "s"); err != nil || grace < need || parsed.Serve.DrainDelay == 0 {
			t.Errorf("%s waits for %v before it kills; the exit takes up to %v, of which %v is the drain delay", s.name, grace, need, parsed.Serve.DrainDelay)
		}
		// systemd's M is Kubernetes' Mi.
		var limit settings.ByteSize
		err = limit.UnmarshalText([]byte(strings.TrimSuffix(find(s.memory), "i") + "iB"))
		if err != nil || limit < parsed.Serve.Memory+overhead {
			t.Errorf("%s: a memory limit of %v, for --memory=%v", s.name, limit, parsed.Serve.Memory)
		}
	}
}

// TestSettingsExist: each setting in deploy is one of the program's. Any other would be
// ignored.
func TestSettingsExist(t *testing.T) {
	commands, err := settings.Reference()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, g := range commands[0].Groups {
		for _, f := range g.Flags {
			known[f.Variable] = true
		}
	}
	for _, name := range []string{"systemd/spillway.service", "kubernetes/base/settings.env", "kubernetes/example/kustomization.yaml"} {
		all := regexp.MustCompile(`\bSPILLWAY_\w+`).FindAllString(readFile(t, name), -1)
		if len(all) < 4 {
			t.Errorf("%s has only the settings %q", name, all)
		}
		for _, variable := range all {
			if !known[variable] {
				t.Errorf("%s: %s is no setting", name, variable)
			}
		}
	}
}
