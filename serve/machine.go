package serve

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"spillway/health"
	"spillway/settings"
	"spillway/stream/budget"
)

const (
	// Open file descriptors, in percent of their limit, that are a warning and an error.
	warnFiles  = 80
	errorFiles = 95

	// otherFiles is how many file descriptors the process needs besides those that
	// depend on settings: for 256 uploads that wait for their turn, listeners, the log,
	// the tokens file and debuggers.
	otherFiles = 256 + 64
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
		if cfg.Disk, err = inTime(openTimeout, budget.ErrDiskHangs, func() (budget.Disk, error) { return open(s.SpillDir) }); err != nil {
			return cfg, fmt.Errorf("%q cannot be used: %w (--spill-quota 0 turns the disk off)", s.SpillDir, err)
		}
	}
	return cfg, nil
}

// filesNeeded returns how many file descriptors the process may need: for connections
// without an upload, uploads, requests to S3, and two spill files for each upload.
func filesNeeded(s *settings.Serve) int {
	const servers = 2
	needed := servers*(maxSpareConns+maxMoreConns) + s.MaxUploads + s.S3Concurrency + otherFiles
	if s.SpillQuota > 0 {
		needed += 2 * s.MaxUploads
	}
	return needed
}

// warnOfLimits logs settings that exceed the limits of the machine: uploads would be
// refused before they reach these settings.
func (svc *service) warnOfLimits(ctx context.Context) {
	s := svc.settings
	if _, limit, err := openFiles(); err == nil && limit < filesNeeded(s) {
		svc.log.Warn("the limit of file descriptors is too low for --max-uploads and --s3-concurrency: raise it (ulimit -n, LimitNOFILE=)",
			zap.Int("limit", limit), zap.Int("needed", filesNeeded(s)))
	}
	if s.SpillQuota == 0 {
		return
	}
	free, _, err := svc.budget.Spill().Free(ctx)
	if err != nil {
		svc.log.Warn("cannot read the free space of --spill-dir", zap.Error(err))
		return
	}
	if needed := int64(s.SpillQuota) + int64(s.SpillMinFree); free < needed {
		svc.log.Warn("--spill-quota and --spill-min-free together exceed the free space of --spill-dir: uploads will be refused before the quota is used up",
			zap.Stringer("spill_quota", s.SpillQuota), zap.Stringer("spill_min_free", s.SpillMinFree),
			zap.String("free", humanize.IBytes(uint64(max(free, 0)))), zap.String("spill_dir", s.SpillDir))
	}
}

// checkFiles checks the open file descriptors.
func checkFiles() health.Check {
	open, limit, err := openFiles()
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
