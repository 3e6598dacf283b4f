package harness

import (
	"fmt"
	"os"
	"strings"
)

// Cut cuts the text of a document around the section that make target writes. The section
// stands between two lines, which are part of before and after.
func Cut(text, target string) (before, section, after string, err error) {
	begin, end := fmt.Sprintf("<!-- begin: make %s -->\n", target), fmt.Sprintf("<!-- end: make %s -->\n", target)
	before, rest, begins := strings.Cut(text, begin)
	section, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", "", "", fmt.Errorf("there is no line %q, or no line %q after it", begin, end)
	}
	return before + begin, section, end + after, nil
}

// Update replaces the section that make target writes in a document with what now returns for
// the old one. If now fails, the document stays as it is.
func Update(document, target string, now func(old string) (string, error)) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, old, after, err := Cut(string(text), target)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	section, err := now(old)
	if err != nil {
		return err
	}
	return os.WriteFile(document, []byte(before+"\n"+section+"\n"+after), 0o644)
}
