package tokens

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"spillway/internal/answer"
	"spillway/internal/terminal"
)

// RunCreate creates a token that is valid for expiresIn. The token goes to stdout, its
// description and warnings to stderr.
func RunCreate(file, email string, permissions []string, expiresIn time.Duration, note string, stdout, stderr io.Writer) error {
	warnIfOpen(file, stderr)
	expires := time.Now().Add(expiresIn)
	token, err := Create(file, email, permissions, expires, note)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "Token %s of %s, valid until %s. It is shown only once:\n", ShortDigest(token), terminal.Escape(email), date(expires))
	_, err = fmt.Fprintln(stdout, token)
	return err
}

// RunRevoke removes from a tokens file the token whose digest starts with the given
// hexadecimal digits, and writes to stdout which one it removed. Warnings go to stderr.
func RunRevoke(file, digest string, stdout, stderr io.Writer) error {
	warnIfOpen(file, stderr)
	token, err := Revoke(file, digest)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "revoked %s of %s\n", token.ShortDigest(), terminal.Escape(token.Email))
	return err
}

// RunList writes the tokens of a tokens file to stdout, as a table or as JSON. Warnings go
// to stderr.
func RunList(file string, asJSON bool, stdout, stderr io.Writer) error {
	warnIfOpen(file, stderr)
	tokens, err := List(file)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(stdout, tokens, time.Now())
	}
	return writeTable(stdout, tokens, time.Now())
}

func writeTable(stdout io.Writer, tokens []Token, now time.Time) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DIGEST\tEMAIL\tPERMISSIONS\tCREATED\tEXPIRES\tNOTE")
	for _, t := range tokens {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n",
			t.ShortDigest(), terminal.Escape(t.Email), strings.Join(t.Permissions, ","), date(t.CreatedAt), expiryText(t, now), terminal.Escape(t.Note))
	}
	return w.Flush()
}

// expiryText returns the day on which t expires, and how long that is from now if it
// expires soon.
func expiryText(t Token, now time.Time) string {
	text := date(t.ExpiresAt)
	switch days := int(t.ExpiresAt.Sub(now).Hours() / 24); {
	case t.lifeAt(now) == expired:
		return text + " (expired)"
	case t.lifeAt(now) == valid:
		return text
	case days == 0:
		return text + " (in less than a day)"
	case days == 1:
		return text + " (in 1 day)"
	default:
		return fmt.Sprintf("%s (in %d days)", text, days)
	}
}

// listed is an entry in the JSON of the list.
type listed struct {
	Digest string `json:"digest"` // as in the table and in the log
	State  life   `json:"state"`
	Token
}

// writeJSON writes an object whose field tokens has the entries of the file.
func writeJSON(stdout io.Writer, tokens []Token, now time.Time) error {
	list := make([]listed, len(tokens))
	for i, t := range tokens {
		list[i] = listed{t.ShortDigest(), t.lifeAt(now), t}
	}
	var text bytes.Buffer
	if err := json.Indent(&text, answer.NewEncoder().Text(map[string]any{"tokens": list}), "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, text.String())
	return err
}

// warnIfOpen warns if everybody on this machine may read or change the tokens file.
func warnIfOpen(file string, stderr io.Writer) {
	info, err := os.Stat(file)
	if err != nil {
		return // whoever opens it reports that
	}
	if may := OpenTo(info.Mode()); may != "" {
		terminal.WriteLine(stderr, fmt.Sprintf("warning: everybody on this machine may %s %s (mode %04o): chmod o= it", may, file, info.Mode().Perm()))
	}
}

// OpenTo returns what everybody may do to a file with that mode: "read", "change", or "" for
// nothing.
func OpenTo(mode fs.FileMode) string {
	switch {
	case mode&0o002 != 0:
		return "change"
	case mode&0o004 != 0:
		return "read"
	}
	return ""
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
