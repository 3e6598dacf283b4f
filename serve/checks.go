package serve

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"spillway/health"
	"spillway/tokens"
)

const (
	// logHangAfter is how long the write of a log line may take before it is a warning.
	logHangAfter = 5 * time.Second

	// logDropShown is how long the heartbeat shows that lines were dropped: long enough
	// for monitors that poll every minute.
	logDropShown = 5 * time.Minute
)

// checkLog warns if log lines cannot be written. It is never an error, because uploads
// do not need the log.
func (svc *service) checkLog() health.Check {
	s, now := svc.logLines.stats(), time.Now()
	warn := func(format string, args ...any) health.Check {
		return health.Check{Name: "log", Level: health.Warning, Message: fmt.Sprintf(format, args...) +
			fmt.Sprintf(" Uploads go on. %d lines were dropped since the start.", s.Dropped)}
	}
	switch {
	case !s.Writing.IsZero() && now.Sub(s.Writing) > logHangAfter:
		return warn("Nobody has read the log (standard error) for %v. Restart its reader.", now.Sub(s.Writing).Round(time.Second))
	case s.Err != nil:
		return warn("The log (standard error) cannot be written: %s. Fix its destination. After a broken pipe, restart this instance.", cause(s.Err))
	case !s.LastDrop.IsZero() && now.Sub(s.LastDrop) < logDropShown:
		return warn("Log lines were dropped, the last one %v ago. Check the reader of standard error: it hung, failed or was too slow.", now.Sub(s.LastDrop).Round(time.Second))
	}
	return health.Check{Name: "log"}
}

// checkTokens warns if the tokens file cannot be used, because uploads go on with the
// tokens in force, and if some of these expire soon. It is an error if none of them may
// upload.
func (svc *service) checkTokens() health.Check {
	s := svc.tokens.Status()
	check := health.Check{Name: "tokens", Message: expiryWarning(s.Expiring)}
	if check.Message != "" {
		check.Level = health.Warning
	}
	if s.Err != nil {
		check.Level = health.Warning
		check.Message = strings.TrimSpace(fmt.Sprintf("The file of --tokens-file cannot be used: %s. Its tokens of %v ago stay in force: new tokens do not work yet, and revoked ones still do. A restart would fail. Fix the file. The log says more.",
			s.Reason, time.Since(s.AsOf).Round(time.Second)) + " " + check.Message)
	}
	if s.Usable == 0 {
		check.Level = health.Error
		check.Message = strings.TrimSpace("No token may upload: there are none, or all have expired. Every upload gets a 403. Create a token with spillway token create. " + check.Message)
	}
	return check
}

// maxNamedTokens is how many tokens that expire soon the heartbeat names.
const maxNamedTokens = 5

// expiryWarning says which tokens expire soon; "" for none. It names them by their digests
// only, because the heartbeat is public.
func expiryWarning(expiring []tokens.Expiry) string {
	var named []string
	for _, e := range expiring[:min(len(expiring), maxNamedTokens)] {
		named = append(named, e.Digest+" on "+e.At.UTC().Format(time.DateOnly))
	}
	if more := len(expiring) - maxNamedTokens; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	const advice = "spillway token list says whose. Create new ones, hand them out, then revoke the old ones."
	switch n := len(expiring); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("1 token expires within 30 days: %s. %s", named[0], advice)
	default:
		return fmt.Sprintf("%d tokens expire within 30 days: %s. %s", n, strings.Join(named, ", "), advice)
	}
}

// cause returns the system's text for err. It hides other errors, because they may
// contain a path and the heartbeat is public.
func cause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "the log says more"
}
