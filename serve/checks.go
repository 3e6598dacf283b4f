package serve

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"spillway/health"
)

const (
	// logStuck is how long a line of the log may take to be written before
	// somebody has to look.
	logStuck = 5 * time.Second

	// logLossShown is how long the heartbeat shows that lines were dropped: long
	// enough for whoever asks every minute.
	logLossShown = 5 * time.Minute
)

// checkLog warns when the log is not read. Uploads do not need it, so it is
// never an error.
func (svc *service) checkLog() health.Check {
	s, now := svc.logLines.stats(), time.Now()
	warn := func(format string, args ...any) health.Check {
		return health.Check{Name: "log", Level: health.Warning, Message: fmt.Sprintf(format, args...) +
			fmt.Sprintf(" Uploads go on. Dropped since the start: %d lines.", s.Dropped)}
	}
	switch {
	case !s.Writing.IsZero() && now.Sub(s.Writing) > logStuck:
		return warn("Nobody has read the log (standard error) for %v. Restart what reads it.", now.Sub(s.Writing).Round(time.Second))
	case s.Err != nil:
		return warn("The log (standard error) cannot be written: %s. Mend what it goes to; after a broken pipe, restart this instance.", cause(s.Err))
	case !s.LastDrop.IsZero() && now.Sub(s.LastDrop) < logLossShown:
		return warn("Log lines were dropped, the last %v ago. Look at what reads standard error: it hung, failed, or was too slow.", now.Sub(s.LastDrop).Round(time.Second))
	}
	return health.Check{Name: "log"}
}

// checkTokens warns when the tokens file cannot be used: uploads go on with the
// tokens in force. It is an error when none of those may upload anything.
func (svc *service) checkTokens() health.Check {
	s := svc.tokens.Status()
	check := health.Check{Name: "tokens"}
	if s.Err != nil {
		check.Level = health.Warning
		check.Message = fmt.Sprintf("The file of --tokens-file cannot be used: %s. Its tokens of %v ago stay in force, so that new tokens do not work and revoked ones do. A restart would fail. Mend the file; the log says more.",
			s.Reason, time.Since(s.AsOf).Round(time.Second))
	}
	if s.Usable == 0 {
		check.Level = health.Error
		check.Message = strings.TrimSpace("No token may upload: there is none, or all have expired. Every upload is answered with 403. Make one with spillway token create. " + check.Message)
	}
	return check
}

// cause returns the system's words for err where there are any: an error of the
// os package has a path in it, and the heartbeat is public.
func cause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "the log says more"
}
