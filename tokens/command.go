package tokens

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"spillway/internal/terminal"
)

// shownDigest is how many digits of a token's digest the commands show. They are
// enough to revoke it.
const shownDigest = 12

// RunCreate creates a token that is valid for expiresIn. The token goes to stdout, its
// description to stderr.
func RunCreate(file, email string, permissions []string, expiresIn time.Duration, note string, stdout, stderr io.Writer) error {
	expires := time.Now().Add(expiresIn)
	token, err := Create(file, email, permissions, expires, note)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "Token of %s, valid until %s. It is shown only once:\n", terminal.Escape(email), date(expires))
	_, err = fmt.Fprintln(stdout, token)
	return err
}

// RunRevoke removes from a tokens file the token whose digest starts with the given
// hexadecimal digits, and writes to stdout which one it removed.
func RunRevoke(file, digest string, stdout io.Writer) error {
	token, err := Revoke(file, digest)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "revoked %s of %s\n", token.SHA256[:shownDigest], terminal.Escape(token.Email))
	return err
}

// RunList writes the tokens of a tokens file to stdout, as a table.
func RunList(file string, stdout io.Writer) error {
	tokens, err := List(file)
	if err != nil {
		return err
	}
	return writeTable(stdout, tokens, time.Now())
}

func writeTable(stdout io.Writer, tokens []Token, now time.Time) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DIGEST\tEMAIL\tPERMISSIONS\tCREATED\tEXPIRES\tNOTE")
	for _, t := range tokens {
		expires := date(t.ExpiresAt)
		if !now.Before(t.ExpiresAt) {
			expires += " (expired)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n",
			t.SHA256[:shownDigest], terminal.Escape(t.Email), strings.Join(t.Permissions, ","), date(t.CreatedAt), expires, terminal.Escape(t.Note))
	}
	return w.Flush()
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
