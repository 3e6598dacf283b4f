package main

import (
	"errors"
	"fmt"
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

// cause returns the system's words for err where there are any: an error of the
// os package has a path in it, and the heartbeat is public.
func cause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "the log says more"
}
