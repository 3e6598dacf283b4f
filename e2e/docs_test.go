package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/client"
)

var (
	selector = regexp.MustCompile(`\b((?:spillway|process)_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)=~?"([^"]*)"`)
)

// TestMetricsThatOperationsNames: each metric that docs/operations.md names exists after the
// first probe and upload, with the labels of the alerts. An alert on any other would never fire.
func TestMetricsThatOperationsNames(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	s := startEmbedded(t)
	client.GetHeartbeat(t, s.API) // the store has been probed
	client.MustSend(t, s.API, "dev", client.Get(t, s.API+"/sample.zip").Body)
	lines := strings.Split(metrics(t, s.Admin), "\n")
	// Tables escape vertical bars.
	text := strings.ReplaceAll(string(doc), `\|`, "|")
	found := selector.FindAllStringSubmatch(text, -1)
	if len(found) < 10 {
		t.Errorf("it names only %d metrics", len(found))
	}
	for _, f := range found {
		name := f[1]
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "# TYPE "+name+" ") }) {
			t.Errorf("there is no metric %s", name)
		}
		if f[2] == "" {
			continue
		}
		for _, labels := range labelsOf(f[2]) {
			if !slices.ContainsFunc(lines, func(l string) bool {
				return strings.HasPrefix(l, name+"{") && !slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(l, label) })
			}) {
				t.Errorf("there is no %s with %s", name, labels)
			}
		}
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

// TestDesignNamesFunctionsThatExist checks the functions that docs/design.md tells its
// readers to read: each is in the file that it names.
func TestDesignNamesFunctionsThatExist(t *testing.T) {
	doc, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(\\w+)`\\s+in\\s+`([\\w/]+\\.go)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 10 {
		t.Errorf("it names only %d functions", len(named))
	}
	for _, n := range named {
		source, err := os.ReadFile("../" + n[2])
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + n[1] + `\(`).Match(source) {
			t.Errorf("%s has no function %s", n[2], n[1])
		}
	}
}

// TestDocumentsNameTests: each test that a document names exists.
func TestDocumentsNameTests(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, d := range declared.FindAllStringSubmatch(string(source), -1) {
			tests[d[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, path := range append(documents, "../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(text), -1) {
			if named++; !tests[name] {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
	}
	if named < 50 {
		t.Errorf("the documents name only %d tests", named)
	}
}
