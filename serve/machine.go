package serve

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"spillway/check"
	"spillway/health"
	"spillway/settings"
	"spillway/stream/budget"
)

const (
	// Open file descriptors, in percent of their limit, that are a warning and an error.
	warnFiles  = 80
	errorFiles = 95
)

// newPressure returns the pressure state of the spill folder.
func (svc *service) newPressure() *health.Pressure {
	return health.NewPressure(health.PressureConfig{
		Window: svc.overrides.pressureWindow,
		Mark:   int64(svc.settings.SpillMinFree),
		Free:   func(ctx context.Context) (int64, int64, error) { return svc.budget.Spill().Free(ctx) },
		Probe:  func(ctx context.Context) error { return svc.budget.Spill().Probe(ctx) },
		Late:   func() int64 { return svc.budget.Spill().Usage().Late },
		Kind:   troubleOf,
		Counted: func(t health.Trouble, err error) {
			svc.metrics.Trouble(t)
			svc.log.Warn("trouble with the spill folder", zap.String("kind", string(t)), zap.Error(err))
		},
		Changed: func(s health.State, last health.Trouble) {
			fields := []zap.Field{zap.String("last_trouble", string(last)), zap.String("spill_dir", svc.settings.SpillDir)}
			if s == health.Out {
				svc.log.Error("under pressure: /__lbheartbeat__ takes this instance out of the load balancer", fields...)
				svc.reporter.PressureOut(string(last))
			} else {
				svc.log.Info("pressure cleared", fields...)
			}
		},
	})
}

// troubleOf classifies an error of the disk. Running out of file descriptors is not
// trouble, because clients can cause it.
func troubleOf(err error) health.Trouble {
	if budget.OutOfFiles(err) {
		return health.NoTrouble
	}
	if errors.Is(err, budget.ErrDiskHangs) {
		return health.DiskHangs
	}
	if _, ok := errors.AsType[*budget.QuotaError](err); ok {
		return health.LowSpace
	}
	return health.DiskFailed
}

// spillConfig opens the spill folder. Without a quota, the folder need not exist.
// Failures of the disk count as pressure.
func (svc *service) spillConfig() (budget.SpillConfig, error) {
	s := svc.settings
	cfg := budget.SpillConfig{
		Quota: int64(s.SpillQuota), UploadQuota: int64(s.SpillUploadQuota), MinFree: int64(s.SpillMinFree), HangAfter: svc.overrides.spillHang,
		Trouble: func(err error) { svc.pressure.Add(troubleOf(err), err) },
	}
	if s.SpillQuota > 0 {
		open := svc.overrides.openDisk
		if open == nil {
			open = budget.OpenDisk
		}
		var err error
		if cfg.Disk, err = openSpill(s, open); err != nil {
			return cfg, fmt.Errorf("%q cannot be used: %w (--spill-quota 0 turns the disk off)", s.SpillDir, err)
		}
	}
	return cfg, nil
}

// openSpill opens the spill folder. It does not wait long for a disk that hangs.
func openSpill(s *settings.Serve, open func(path string) (budget.Disk, error)) (budget.Disk, error) {
	return inTime(openTimeout, budget.ErrDiskHangs, func() (budget.Disk, error) { return open(s.SpillDir) })
}

// checkFiles checks the open file descriptors.
func checkFiles() health.Check {
	open, limit, err := check.OpenFiles()
	if errors.Is(err, errors.ErrUnsupported) {
		return health.Check{Name: "files"}
	}
	if err != nil {
		return health.Check{Name: "files", Level: health.Warning, Message: "The open file descriptors cannot be counted: " + err.Error() + "."}
	}
	return filesCheck(open, limit)
}

func filesCheck(open, limit int) health.Check {
	c := health.Check{Name: "files"}
	switch percent := open * 100 / max(limit, 1); {
	case percent >= errorFiles:
		c.Level = health.Error
	case percent >= warnFiles:
		c.Level = health.Warning
	default:
		return c
	}
	c.Message = fmt.Sprintf("%d of %d file descriptors are open. When none are left, connections are not accepted and uploads get a 503. "+
		"Raise the limit (ulimit -n, LimitNOFILE=), or find out which clients keep connections open.", open, limit)
	return c
}
