package check

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"spillway/health"
	"spillway/settings"
	"spillway/tokens"
)

// Tokens is what is known of the tokens.
type Tokens struct {
	Mode     fs.FileMode // of the file
	Err      error       // the file cannot be used; nil: it can
	Status   tokens.Status
	Expiring string // says which tokens expire soon; empty: none
	Upstream error  // why --tokens-upstream cannot be asked; nil: it can, or is not set
}

// Result judges the tokens.
func (k Tokens) Result(s *settings.Serve) Result {
	r := Result{Name: "tokens"}
	if k.Err != nil {
		r.Level, r.Found = health.Error, k.Err.Error()+"."
		r.Remedy = fmt.Sprintf("Fix the file, or create it: spillway token create --tokens-file=%s --email=ADDRESS", s.TokensFile)
		return r
	}
	r.Found = fmt.Sprintf("%d of %d tokens may upload.", k.Status.Usable, len(k.Status.Uses))
	worse := func(l health.Level, found, do string) {
		r.Level = max(r.Level, l)
		r.Found += " " + found
		r.Remedy = strings.TrimSpace(r.Remedy + " " + do)
	}
	none := k.Status.Usable == 0
	switch e, down := errors.AsType[*tokens.AskError](k.Upstream); {
	case down && none:
		worse(health.Error, fmt.Sprintf("The server of --tokens-upstream cannot be asked: %s.", e.Reason), "Check that server, the URL, and the network.")
	case down:
		worse(health.Warning, fmt.Sprintf("The server of --tokens-upstream cannot be asked: %s.", e.Reason), "Check that server, the URL, and the network.")
	case s.TokensUpstream != "":
		worse(health.OK, "The server of --tokens-upstream answers.", "")
	}
	if none && s.TokensUpstream == "" {
		worse(health.Error, "Every upload gets a 403.", "Create a token with spillway token create.")
	}
	if k.Expiring != "" {
		worse(health.Warning, k.Expiring, "")
	}
	switch may := tokens.OpenTo(k.Mode); may {
	case "change":
		worse(health.Error, fmt.Sprintf("Everybody on this machine may change the file (mode %04o), and so add tokens.", k.Mode.Perm()), "Take that away: chmod o= "+s.TokensFile)
	case "read":
		worse(health.Warning, fmt.Sprintf("Everybody on this machine may read the file (mode %04o), and so who has tokens.", k.Mode.Perm()), "Take that away: chmod o= "+s.TokensFile)
	}
	return r
}
