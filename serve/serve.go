// Package serve assembles the service and runs it until a signal.
package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"spillway/settings"
)

const (
	// reportFlushTimeout bounds the wait for the last reports to reach Sentry, and for the
	// last spans to reach their endpoint.
	reportFlushTimeout = 2 * time.Second

	// logFlushTimeout bounds the wait for the last log lines.
	logFlushTimeout = 2 * time.Second

	// exitTimeout bounds the shutdown after --drain-timeout, without the last log lines.
	// Its steps have timeouts of their own: uploads 5 s, connections 1 s, reports 2 s.
	exitTimeout = 8 * time.Second
)

// ErrCutShort reports that a second signal ended the process.
var ErrCutShort = errors.New("ended by a second signal before all uploads finished")

// Run serves uploads until ctx or a signal ends it. s must be complete. The error is a
// [*settings.Error] for a setting that cannot be used, an [*upload.UnfinishedError] if
// uploads took longer than --drain-timeout, and [ErrCutShort] after a second signal.
// The log goes to stderr, the help of --dev to stdout.
func Run(ctx context.Context, s *settings.Serve, getenv func(string) string, stdout, stderr io.Writer) error {
	log, logLines, err := openLog(stderr, s.LogLevel, s.LogFormat)
	if err != nil {
		return &settings.Error{Err: fmt.Errorf("--log-level: %w", err)}
	}
	help := newAsyncWriter(stdout)
	help.start()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logFlushTimeout)
		defer cancel()
		help.close(ctx)
		logLines.close(ctx)
	}()
	// Libraries write to the standard logger.
	restore, err := zap.RedirectStdLogAt(log, zap.WarnLevel)
	if err != nil {
		return err
	}
	defer restore()
	// Before the service starts, so that an early signal is not lost.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	svc, err := newService(ctx, s, overrides{}, getenv, log, logLines)
	if err != nil {
		return err
	}
	return svc.run(ctx, signals, help)
}

// run serves until ctx, a signal or the failure of a server ends it, and then shuts
// down. On a second signal it returns at once. Writes to stdout must not block.
func (svc *service) run(ctx context.Context, signals <-chan os.Signal, stdout io.Writer) error {
	watch, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { svc.tokens.Watch(watch) })
	if svc.settings.SpillQuota > 0 {
		running.Go(func() { svc.pressure.Watch(watch) })
	}
	running.Go(func() { svc.pages.Watch(watch) })
	running.Go(func() { svc.health.Watch(watch) })
	svc.janitor.start(watch)
	failed := make(chan error, 3) // one for each endpoint
	for _, e := range svc.endpoints() {
		running.Go(func() {
			if err := e.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	svc.announce(stdout)
	svc.notifySupervisor(ctx, notifyReady)
	go svc.logStartChecks(watch) // nobody waits for it: a disk may hang
	err := svc.await(ctx, signals, failed)

	var endErr error
	drained, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		endErr = svc.drain(context.WithoutCancel(ctx))
		close(drained)
		svc.closeAll(context.WithoutCancel(ctx), unwatch)
		running.Wait()
		svc.flushReports(context.WithoutCancel(ctx))
	}()
	timeout := time.After(svc.settings.DrainDelay + svc.settings.DrainTimeout + exitTimeout)
	for {
		select {
		case <-timeout:
			svc.log.Warn("the shutdown hangs: exiting without waiting for it")
			<-drained // bounded by its own timeouts
			return cmp.Or(err, endErr)
		case <-ended:
			if err == nil {
				return endErr
			}
			if endErr != nil {
				svc.log.Error("shutting down", zap.Error(endErr))
			}
			return err // the reason for the shutdown
		case s := <-signals:
			if s != syscall.SIGHUP {
				svc.log.Error("second signal: exiting at once", zap.Stringer("signal", s))
				return ErrCutShort
			}
		}
	}
}

// flushReports sends the last reports to Sentry, and the last spans.
func (svc *service) flushReports(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportFlushTimeout)
	defer cancel()
	var flushing sync.WaitGroup
	flushing.Go(func() {
		if !svc.tracer.Close(ctx) {
			svc.log.Warn("some spans did not reach their endpoint in time")
		}
	})
	if !svc.reporter.Close(reportFlushTimeout) {
		svc.log.Warn("some reports did not reach Sentry in time")
	}
	flushing.Wait()
}

// announce logs where the service listens.
func (svc *service) announce(stdout io.Writer) {
	fields := []zap.Field{zap.String("version", Version().Version), zap.String("api", svc.public.address()), zap.String("admin", svc.admin.address())}
	s3 := ""
	if svc.embedded != nil {
		s3 = svc.embedded.address()
		fields = append(fields, zap.String("s3", s3))
	}
	svc.log.Info("listening", fields...)
	if svc.settings.Dev {
		printDevHelp(stdout, svc.settings, svc.public.address(), svc.admin.address(), s3)
	}
}

// await returns when the service has to shut down. The error is that of a server.
func (svc *service) await(ctx context.Context, signals <-chan os.Signal, failed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			svc.log.Info("shutting down", zap.Error(context.Cause(ctx)))
			return nil
		case err := <-failed:
			svc.log.Error("a server failed: shutting down", zap.Error(err))
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				svc.tokens.Reload()
				continue
			}
			svc.log.Info("shutting down", zap.Stringer("signal", s), zap.Duration("drain_timeout", svc.settings.DrainTimeout))
			return nil
		}
	}
}

// drain lets load balancers notice, then refuses new uploads, waits up to
// --drain-timeout for those under way, and ends the rest.
func (svc *service) drain(ctx context.Context) error {
	svc.health.SetDraining()
	svc.notifySupervisor(ctx, notifyStopping)
	<-time.After(svc.settings.DrainDelay)
	ctx, cancel := context.WithTimeout(ctx, svc.settings.DrainTimeout)
	defer cancel()
	return svc.api.Drain(ctx)
}

// closeAll stops everything else once no upload is under way. unwatch ends the live
// pages, so that the servers need not wait for them.
func (svc *service) closeAll(ctx context.Context, unwatch context.CancelFunc) {
	svc.janitor.stop() // before the embedded S3 server, which it may be sweeping
	unwatch()
	var closing sync.WaitGroup
	for _, e := range svc.endpoints() {
		closing.Go(func() {
			if err := e.end(ctx); err != nil {
				svc.log.Warn("closing a server", zap.String("address", e.address()), zap.Error(err))
			}
		})
	}
	closing.Wait()
	svc.repeats.Flush()
	svc.log.Info("shut down")
}
