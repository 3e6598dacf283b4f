package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"spillway/upload"
)

// shownDigest is how many digits of a token's digest are shown, and enough to
// revoke it.
const shownDigest = 12

// runCreate makes a token that can be used for expiresIn. Only the token goes to
// stdout; what it is goes to stderr.
func runCreate(file, email string, permissions []string, expiresIn time.Duration, note string, stdout, stderr io.Writer) error {
	expires := time.Now().Add(expiresIn)
	token, err := upload.CreateToken(file, email, permissions, expires, note)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "A token of %s, until %s. It is shown only now:\n", printable(email), date(expires))
	_, err = fmt.Fprintln(stdout, token)
	return err
}

// runRevoke removes the token whose digest begins with the given hexadecimal
// digits from a tokens file, and writes to stdout which one that was.
func runRevoke(file, digest string, stdout io.Writer) error {
	token, err := upload.RevokeToken(file, digest)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "revoked %s of %s\n", token.SHA256[:shownDigest], printable(token.Email))
	return err
}

// runList writes the tokens of a tokens file to stdout, as a table.
func runList(file string, stdout io.Writer) error {
	tokens, err := upload.ListTokens(file)
	if err != nil {
		return err
	}
	return writeTable(stdout, tokens, time.Now())
}

func writeTable(stdout io.Writer, tokens []upload.Token, now time.Time) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DIGEST\tEMAIL\tPERMISSIONS\tCREATED\tEXPIRES\tNOTE")
	for _, t := range tokens {
		expires := date(t.ExpiresAt)
		if !now.Before(t.ExpiresAt) {
			expires += " (expired)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n",
			t.SHA256[:shownDigest], printable(t.Email), strings.Join(t.Permissions, ","), date(t.CreatedAt), expires, printable(t.Note))
	}
	return w.Flush()
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
