package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"spillway/health"
	"spillway/settings"
	"spillway/stream/budget"
)

const (
	// openTimeout is how long the disk may take to answer at the start.
	openTimeout = 10 * time.Second

	// manyFiles percent of the allowed file descriptors in use are a warning,
	// tooManyFiles percent an error.
	manyFiles    = 80
	tooManyFiles = 95

	// otherFiles is how many file descriptors the process needs beside those that
	// settings decide on: for 256 uploads that wait for their turn, listeners, the
	// log, the tokens file, and whoever looks at the process.
	otherFiles = 256 + 64
)

// newPressure returns the pressure of the spill folder.
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
				svc.log.Error("under pressure: the balancer is told to take this instance out", fields...)
				svc.reporter.PressureOut(string(last))
			} else {
				svc.log.Info("pressure cleared", fields...)
			}
		},
	})
}

// troubleOf classifies an error of the disk. Running out of file descriptors is no
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

// spillConfig opens the spill folder of the settings. Without a quota, the folder need
// not exist. The disk's failures are reported as pressure.
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
		disk, err := openInTime(open, s.SpillDir)
		if err != nil {
			return cfg, fmt.Errorf("%q cannot be used: %w (with --spill-quota 0 no disk is)", s.SpillDir, err)
		}
		cfg.Disk = disk
	}
	return cfg, nil
}

// openInTime opens the disk of a folder, unless that hangs: nothing would say why
// the program does not start.
func openInTime(open func(path string) (budget.Disk, error), path string) (budget.Disk, error) {
	type result struct {
		disk budget.Disk
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		disk, err := open(path)
		opened <- result{disk, err}
	}()
	timer := time.NewTimer(openTimeout)
	defer timer.Stop()
	select {
	case r := <-opened:
		return r.disk, r.err
	case <-timer.C:
		return nil, fmt.Errorf("%w within %v", budget.ErrDiskHangs, openTimeout)
	}
}

// filesNeeded is how many file descriptors the process may come to need: for
// connections without an upload, uploads, requests to S3, and two spill files for
// each upload.
func filesNeeded(s *settings.Serve) int {
	const servers = 2
	needed := servers*(maxSpareConns+maxMoreConns) + s.MaxUploads + s.S3Concurrency + otherFiles
	if s.SpillQuota > 0 {
		needed += 2 * s.MaxUploads
	}
	return needed
}

// warnOfMachine logs which settings ask for more than the machine has. Uploads
// would be refused before they reach them.
func (svc *service) warnOfMachine(ctx context.Context) {
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
		svc.log.Warn("the disk of --spill-dir does not say how much of it is free", zap.Error(err))
		return
	}
	if needed := int64(s.SpillQuota) + int64(s.SpillMinFree); free < needed {
		svc.log.Warn("--spill-quota and --spill-min-free together are more than is free on the disk of --spill-dir: uploads will be refused before the quota is used up",
			zap.Stringer("spill_quota", s.SpillQuota), zap.Stringer("spill_min_free", s.SpillMinFree),
			zap.String("free", humanize.IBytes(uint64(max(free, 0)))), zap.String("spill_dir", s.SpillDir))
	}
}

// checkFiles is the check of the file descriptors.
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
	switch share := open * 100 / max(limit, 1); {
	case share >= tooManyFiles:
		c.Level = health.Error
	case share >= manyFiles:
		c.Level = health.Warning
	default:
		return c
	}
	c.Message = fmt.Sprintf("%d of %d file descriptors are open. When none are left, connections are not accepted and uploads get a 503. "+
		"Raise the limit (ulimit -n, LimitNOFILE=), or find out which clients keep connections open.", open, limit)
	return c
}
