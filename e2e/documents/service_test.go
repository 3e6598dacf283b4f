package documents

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
)

// start starts the program with the S3 server in its process, and has it store an upload, so
// that all metrics exist.
func start(t *testing.T) *daemon.Daemon {
	t.Helper()
	ctx := client.Within(t)
	binary, err := daemon.Build(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Start(ctx, binary, nil, "--dev", "--log-format=json", "--listen=127.0.0.1:0", "--dev-s3-listen=127.0.0.1:0",
		"--tokens-upstream=http://127.0.0.1:1") // for its series
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	client.GetHeartbeat(t, d.API) // the store has been probed
	client.MustSend(t, d.API, "dev", client.Get(t, d.API+"/sample.zip").Body)
	return d
}

// TestService: what the documents name of a running service is there.
func TestService(t *testing.T) {
	documents := read(t)
	d := start(t)
	t.Run("metrics", func(t *testing.T) {
		text, err := daemon.Get(client.Within(t), d.Admin+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		checkMetrics(t, documents, lines)
		checkSelectors(t, "deploy/prometheus/spillway.rules.yml", lines)
		checkSelectors(t, "deploy/grafana/spillway.json", lines)
	})
	t.Run("paths", func(t *testing.T) { checkPaths(t, documents, d) })
	t.Run("checks", func(t *testing.T) { checkChecks(t, documents, client.GetHeartbeat(t, d.API).Checks) })
}

var (
	selector = regexp.MustCompile(`\b((?:spillway|process|go)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)=~?"([^"]*)"`)
)

// checkMetrics checks that each metric that the documents name exists, with the labels of the
// alerts. An alert on any other would never fire. lines is the answer to /metrics.
func checkMetrics(t *testing.T, documents []document, lines []string) {
	named := map[string]bool{}
	for _, d := range documents {
		// Tables escape vertical bars.
		for _, f := range selector.FindAllStringSubmatch(strings.ReplaceAll(d.text, `\|`, "|"), -1) {
			name := f[1]
			if strings.HasSuffix(name, "_") { // as in "go_…"
				continue
			}
			named[name] = true
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "# TYPE "+name+" ") }) {
				t.Errorf("%s names the metric %s, which does not exist", d.path, name)
			}
			if f[2] == "" {
				continue
			}
			checkLabels(t, d.path, name, f[2], lines)
		}
	}
	for _, l := range lines {
		if m := regexp.MustCompile(`^# TYPE (spillway_\w+) `).FindStringSubmatch(l); m != nil && !named[m[1]] {
			t.Errorf("no document names the metric %s", m[1])
		}
	}
}

// checkLabels checks that a metric has a series for each label set that the matchers in braces
// select.
func checkLabels(t *testing.T, path, name, matchers string, lines []string) {
	t.Helper()
	for _, labels := range labelsOf(matchers) {
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, name+"{") && !slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(l, label) })
		}) {
			t.Errorf("%s names %s with %s, which does not exist", path, name, labels)
		}
	}
}

// prometheusLabels matches matchers of labels that Prometheus adds.
var prometheusLabels = regexp.MustCompile(`\b(?:job|instance)=~?"[^"]*",?`)

// checkSelectors is checkMetrics for a file with queries, such as the rules of alerts.
func checkSelectors(t *testing.T, path string, lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	queries := prometheusLabels.ReplaceAllString(strings.ReplaceAll(string(text), `\"`, `"`), "")
	found := selector.FindAllStringSubmatch(queries, -1)
	for _, f := range found {
		if f[2] != "" {
			checkLabels(t, path, f[1], f[2], lines)
		} else if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, f[1]+"{") || strings.HasPrefix(l, f[1]+" ") }) {
			t.Errorf("%s names the metric %s, which does not exist", path, f[1])
		}
	}
	if len(found) < 15 {
		t.Errorf("%s names only %d metrics", path, len(found))
	}
}

// labelsOf returns the label sets that the matchers in braces select: for a pattern, one set
// for each alternative.
func labelsOf(matchers string) [][]string {
	sets := [][]string{nil}
	for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
		var more [][]string
		for value := range strings.SplitSeq(m[2], "|") {
			for _, set := range sets {
				more = append(more, append(slices.Clone(set), m[1]+`="`+value+`"`))
			}
		}
		sets = more
	}
	return sets
}

// elsewhere matches paths that are not Spillway's: those of files and other programs.
var elsewhere = regexp.MustCompile(`^/(?:(?:dev|etc|proc|run|sys|tmp|usr|var)(?:/|$)|upload/v2/|v1/traces$)`)

// checkPaths checks that one of the listeners knows each path that the documents name.
func checkPaths(t *testing.T, documents []document, d *daemon.Daemon) {
	path := regexp.MustCompile(`^(?:(GET|POST) )?(/(?:[a-z0-9_]+[./]?)*)$`)
	count := 0
	for _, doc := range documents {
		for _, s := range doc.spans() {
			p := path.FindStringSubmatch(s)
			if p == nil || elsewhere.MatchString(p[2]) {
				continue
			}
			count++
			if client.Get(t, d.API+p[2]).Status == http.StatusNotFound && client.Get(t, d.Admin+p[2]).Status == http.StatusNotFound {
				t.Errorf("%s names the path %s, which neither listener knows", doc.path, s)
			}
		}
	}
	if count < 30 {
		t.Errorf("the documents name only %d paths", count)
	}
}

// checkChecks checks that the documents name no check of the heartbeat that does not exist,
// and that docs/operations.md has a heading for each.
func checkChecks(t *testing.T, documents []document, checks map[string]string) {
	list := regexp.MustCompile("(?i)\\bchecks? ((?:`[a-z]+`(?:, | and |, and )?)+)")
	in := regexp.MustCompile("`([a-z]+)`\\s+in\\s+`/__heartbeat__`")
	name := regexp.MustCompile("`([a-z]+)`")
	count := 0
	for _, d := range documents {
		var all []string
		for _, l := range list.FindAllStringSubmatch(d.prose, -1) {
			all = append(all, l[1])
		}
		for _, l := range in.FindAllStringSubmatch(d.prose, -1) {
			all = append(all, l[0])
		}
		for _, l := range all {
			for _, n := range name.FindAllStringSubmatch(l, -1) {
				if count++; checks[n[1]] == "" {
					t.Errorf("%s names the check %s, which does not exist", d.path, n[1])
				}
			}
		}
		if d.path != "docs/operations.md" {
			continue
		}
		for c := range checks {
			if !d.anchors()[c] {
				t.Errorf("%s has no heading for the check %s", d.path, c)
			}
		}
	}
	if count < 20 {
		t.Errorf("the documents name only %d checks", count)
	}
}
