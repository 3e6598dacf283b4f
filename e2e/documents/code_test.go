package documents

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFunctionsExist checks the functions that docs/design.md tells its readers to read: each
// is in the file that it names.
func TestFunctionsExist(t *testing.T) {
	doc, err := os.ReadFile(root + "/docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(\\w+)`\\s+in\\s+`([\\w/]+\\.go)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 10 {
		t.Errorf("it names only %d functions", len(named))
	}
	for _, n := range named {
		source, err := os.ReadFile(filepath.Join(root, n[2]))
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + n[1] + `\(`).Match(source) {
			t.Errorf("%s has no function %s", n[2], n[1])
		}
	}
}

// TestTestsExist: each test that a document names exists.
func TestTestsExist(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	walk(t, func(path, source string) {
		if strings.HasSuffix(path, "_test.go") {
			for _, d := range declared.FindAllStringSubmatch(source, -1) {
				tests[d[1]] = true
			}
		}
	})
	count := 0
	for _, d := range read(t) {
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(d.text, -1) {
			if count++; !tests[name] {
				t.Errorf("%s names %s, which does not exist", d.path, name)
			}
		}
	}
	if count < 50 {
		t.Errorf("the documents name only %d tests", count)
	}
}

// TestFilesExist: each file and folder of the repository that a document names in code exists.
func TestFilesExist(t *testing.T) {
	folders := `(?:docs|e2e|fetch|health|internal|observe|s3sink|serve|settings|stream|testdata|tokens|upload|\.ci)`
	path := regexp.MustCompile(`^` + folders + `(?:/[\w.-]+)+/?$`)
	for _, d := range read(t) {
		for _, s := range d.spans() {
			if !path.MatchString(s) || strings.Contains(s, "NAME") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, s)); err != nil {
				t.Errorf("%s names %s, which does not exist", d.path, s)
			}
		}
	}
}

// walk calls f with each Go file and Makefile of the repository.
func walk(t *testing.T, f func(path, source string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".ci" && path != root:
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") && entry.Name() != "Makefile":
			return nil
		}
		source, err := os.ReadFile(path)
		f(path, string(source))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
