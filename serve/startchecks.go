package serve

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"spillway/check"
	"spillway/health"
	"spillway/internal/s3event"
)

// logStartChecks logs what the command check would say of the settings and the machine, unless
// it is ok.
func (svc *service) logStartChecks(ctx context.Context) {
	results := append(checkMachine(svc.settings, describeSpill(ctx, svc.settings, svc.budget.Spill())), check.Settings(svc.settings))
	for _, r := range results {
		logResult(svc.log, r)
	}
}

// logResult logs a result that is a warning or an error.
func logResult(log *zap.Logger, r check.Result) {
	if r.Level <= health.OK {
		return
	}
	level := zap.WarnLevel
	if r.Level == health.Error {
		level = zap.ErrorLevel
	}
	log.Log(level, "start check", zap.String("check", r.Name), zap.String("found", r.Found), zap.String("remedy", r.Remedy))
}

// clockWatch compares this machine's clock with the store's once: when the first answer of
// the store comes.
type clockWatch struct {
	log  *zap.Logger
	once sync.Once
}

func (c *clockWatch) see(a s3event.Attempt) {
	if ahead, ok := check.ClockAhead(a); ok {
		c.once.Do(func() { logResult(c.log, check.Clock(ahead)) })
	}
}
