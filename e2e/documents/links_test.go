package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	source  = regexp.MustCompile(`\b(?:src|srcset|href)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	named   = regexp.MustCompile(`<a (?:id|name)="([^"]+)">`)
)

// TestLinks: each link to a file of the repository finds it, and its anchor.
func TestLinks(t *testing.T) {
	anchors := map[string]map[string]bool{} // by path
	documents := read(t)
	for _, d := range documents {
		anchors[d.path] = d.anchors()
	}
	checked := 0
	for _, d := range documents {
		for _, pattern := range []*regexp.Regexp{link, source} {
			for _, l := range pattern.FindAllStringSubmatch(d.prose, -1) {
				if strings.Contains(l[1], "://") {
					continue
				}
				checked++
				path, anchor, _ := strings.Cut(l[1], "#")
				target := d.path
				if path != "" {
					target = filepath.Join(filepath.Dir(d.path), path)
				}
				if _, err := os.Stat(filepath.Join(root, target)); err != nil {
					t.Errorf("%s links to %s, which is not there", d.path, l[1])
					continue
				}
				if anchor != "" && !anchors[target][anchor] {
					t.Errorf("%s links to %s, which has no such heading", d.path, l[1])
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("the documents have only %d links", checked)
	}
}

// TestIndex: docs/README.md links to every other document in docs.
func TestIndex(t *testing.T) {
	documents := read(t)
	index := ""
	for _, d := range documents {
		if d.path == "docs/README.md" {
			index = d.prose
		}
	}
	for _, d := range documents {
		name, ok := strings.CutPrefix(d.path, "docs/")
		if ok && name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md has no link to %s", name)
		}
	}
}

// anchors returns the anchors that GitHub gives the headings of a document, and those that
// the document names itself.
func (d document) anchors() map[string]bool {
	all := map[string]bool{}
	for _, n := range named.FindAllStringSubmatch(d.prose, -1) {
		all[n[1]] = true
	}
	for _, h := range heading.FindAllStringSubmatch(d.prose, -1) {
		slug := slugOf(h[1])
		unique := slug
		for n := 1; all[unique]; n++ {
			unique = slug + "-" + strconv.Itoa(n)
		}
		all[unique] = true
	}
	return all
}

// slugOf returns the anchor of a heading: lower case, hyphens for spaces, and nothing else but
// letters, digits, hyphens and underscores.
func slugOf(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func TestAnchors(t *testing.T) {
	d := parse("x.md", "# The AWS SDK's settings\n## `storage`\n## A\n## A\n## `POST /upload/`\n<a id=\"own\"></a>\n")
	for _, want := range []string{"the-aws-sdks-settings", "storage", "a", "a-1", "post-upload", "own"} {
		if !d.anchors()[want] {
			t.Errorf("%q is missing in %v", want, d.anchors())
		}
	}
}
