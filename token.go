package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"spillway/upload"
)

// shownDigest is how many digits of a token's digest are shown, and enough to
// revoke it.
const shownDigest = 12

type tokenSettings struct {
	TokensFile string `required:"" placeholder:"PATH" help:"The tokens file."`

	Create tokenCreateSettings `cmd:"" help:"Make a token, put its SHA-256 into the file, and print it. It is shown only now."`
	List   struct{}            `cmd:"" help:"List the tokens in the file."`
	Revoke tokenRevokeSettings `cmd:"" help:"Remove a token from the file."`
}

type tokenCreateSettings struct {
	Email      string        `required:"" placeholder:"ADDRESS" help:"Whose token it is."`
	Permission []string      `default:"upload_symbols" enum:"upload_symbols,upload_try_symbols" placeholder:"LIST" help:"upload_symbols, upload_try_symbols, or both, separated by a comma."`
	ExpiresIn  time.Duration `default:"8760h" placeholder:"TIME" help:"How long it can be used."`
	Note       string        `placeholder:"TEXT" help:"What it is for."`
}

type tokenRevokeSettings struct {
	Digest string `arg:"" help:"What the SHA-256 of the token begins with, as listed."`
}

// manageTokens runs one of the token commands. Of create, only the token goes
// to stdout.
func manageTokens(command string, s *tokenSettings, stdout, stderr io.Writer) error {
	switch command {
	case "token create":
		c := s.Create
		expires := time.Now().Add(c.ExpiresIn)
		token, err := upload.CreateToken(s.TokensFile, c.Email, c.Permission, expires, c.Note)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "A token of %s, until %s. It is shown only now:\n", printable(c.Email), date(expires))
		_, err = fmt.Fprintln(stdout, token)
		return err
	case "token revoke <digest>":
		token, err := upload.RevokeToken(s.TokensFile, s.Revoke.Digest)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "revoked %s of %s\n", token.SHA256[:shownDigest], printable(token.Email))
		return err
	default:
		tokens, err := upload.ListTokens(s.TokensFile)
		if err != nil {
			return err
		}
		return listTokens(stdout, tokens, time.Now())
	}
}

func listTokens(stdout io.Writer, tokens []upload.Token, now time.Time) error {
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

// printable returns s with everything escaped that could act on a terminal:
// control characters, those that change the direction of text, and bytes that are
// not UTF-8.
func printable(s string) string {
	var out strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			out.WriteString(s[:n])
		} else {
			escape := strconv.Quote(s[:n])
			out.WriteString(escape[1 : len(escape)-1])
		}
		s = s[n:]
	}
	return out.String()
}
