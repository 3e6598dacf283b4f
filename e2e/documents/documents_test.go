// Package documents holds the documents to the program: what they name exists, their links
// lead somewhere, and their commands work.
package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the folder of the repository.
const root = "../.."

// A document is a Markdown file.
type document struct {
	path   string // from root
	text   string
	prose  string // the text without its fenced blocks
	blocks []block
}

// A block is a fenced block.
type block struct {
	language string
	text     string
	line     int    // of the opening fence
	note     string // the comment directly before it
}

// span matches code within a line.
var span = regexp.MustCompile("`([^`\n]+)`")

// spans returns the code within the prose.
func (d document) spans() (all []string) {
	// Tables escape vertical bars.
	for _, s := range span.FindAllStringSubmatch(strings.ReplaceAll(d.prose, `\|`, "|"), -1) {
		all = append(all, s[1])
	}
	return all
}

// commands returns the lines of the blocks in the language sh, without comments. Lines that
// go on are joined.
func (d document) commands() (all []string) {
	for _, b := range d.blocks {
		if b.language != "sh" {
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, "# ")
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// read returns the documents: README.md, CONTRIBUTING.md, those in docs, and what is not
// released yet in CHANGELOG.md.
func read(t *testing.T) (all []document) {
	t.Helper()
	paths, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d documents, error %v", len(paths), err)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} {
		paths = append(paths, filepath.Join(root, name))
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		if d == "CHANGELOG.md" {
			text = []byte(unreleased(string(text)))
		}
		all = append(all, parse(d, string(text)))
	}
	return all
}

// unreleased returns a changelog up to the second version.
func unreleased(text string) string {
	versions := regexp.MustCompile(`(?m)^## `).FindAllStringIndex(text, 2)
	if len(versions) == 2 {
		return text[:versions[1][0]]
	}
	return text
}

// parse cuts a document into prose and fenced blocks.
func parse(path, text string) document {
	d := document{path: path, text: text}
	var prose strings.Builder
	var open *block
	note := ""
	for n, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		language, isFence := strings.CutPrefix(trimmed, "```")
		switch {
		case isFence && open == nil:
			d.blocks = append(d.blocks, block{language: language, line: n + 1, note: note})
			open = &d.blocks[len(d.blocks)-1]
			note = ""
		case isFence:
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			prose.WriteString(line + "\n")
			if comment, ok := strings.CutPrefix(trimmed, "<!-- "); ok {
				note = strings.TrimSuffix(comment, " -->")
			} else if trimmed != "" {
				note = ""
			}
		}
	}
	d.prose = prose.String()
	return d
}

func TestParse(t *testing.T) {
	d := parse("x.md", "a `b|c`\n\n<!-- not run: why -->\n\n```sh\nmake x \\\n  y # z\n```\n\nmore\n```\nplain\n```\n")
	if len(d.blocks) != 2 || d.blocks[0].note != "not run: why" || d.blocks[0].language != "sh" || d.blocks[0].line != 5 || d.blocks[1].note != "" {
		t.Errorf("blocks %+v", d.blocks)
	}
	if got := strings.Join(d.commands(), "|"); got != "make x    y" {
		t.Errorf("commands %q", got)
	}
	if got := strings.Join(d.spans(), "|"); got != "b|c" {
		t.Errorf("code %q", got)
	}
	if got := unreleased("# C\n\n## Unreleased\n\nx\n\n## 1.0\n\ny\n"); strings.Contains(got, "y") || !strings.Contains(got, "x") {
		t.Errorf("unreleased: %q", got)
	}
}
