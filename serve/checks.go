package serve

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"spillway/health"
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

// cause returns the system's text for err. It hides other errors, because they may
// contain a path and the heartbeat is public.
func cause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "the log says more"
}
