// Package serve puts the parts of the service together and runs them until a
// signal.
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
	// flushTimeout is how long the last reports have to reach Sentry.
	flushTimeout = 2 * time.Second

	// endTimeout is how long after --drain-timeout nothing is waited for any more,
	// but for the last lines of the log. The parts have times of their own: uploads
	// 5 s, then connections 1 s, then reports 2 s.
	endTimeout = 8 * time.Second
)

// logFlushTimeout is how long the last lines of the log have to be written.
const logFlushTimeout = 2 * time.Second

// ErrCutShort says that a second signal ended the process.
var ErrCutShort = errors.New("ended by a second signal, before the uploads under way were")

// Run takes uploads until ctx or a signal ends it. s must be complete. Its error is a
// [*settings.Error] for a setting that does not work out, an
// [*upload.UnfinishedError] if uploads took longer than --drain-timeout, and
// [ErrCutShort] after a second signal. The log goes to stderr; what --dev says to
// people goes to stdout.
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
	// net/http writes there what it can tell nobody.
	restore, err := zap.RedirectStdLogAt(log, zap.WarnLevel)
	if err != nil {
		return err
	}
	defer restore()
	// From here on, for a signal that comes early has to count.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	svc, err := newService(ctx, s, overrides{}, getenv, log, logLines)
	if err != nil {
		return err
	}
	return svc.run(ctx, signals, help)
}

// run serves until ctx or a signal ends it, and then ends what is under way.
// Writing to stdout must not block.
// After an error of one of the servers it does the same. Only on a second
// signal does it return without waiting.
func (svc *service) run(ctx context.Context, signals <-chan os.Signal, stdout io.Writer) error {
	svc.warnOfMachine(ctx)
	watch, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { svc.tokens.Watch(watch) })
	if svc.settings.SpillQuota > 0 {
		running.Go(func() { svc.pressure.Watch(watch) })
	}
	running.Go(func() { svc.pages.Watch(watch) })
	svc.janitor.start(watch)
	failed := make(chan error, 3) // one for each endpoint
	for _, e := range svc.endpoints() {
		if e != nil {
			running.Go(func() {
				if err := e.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
					failed <- err
				}
			})
		}
	}
	svc.announce(stdout)
	err := svc.await(ctx, signals, failed)

	var endErr error
	drained, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		endErr = svc.drain(context.WithoutCancel(ctx))
		close(drained)
		svc.closeAll(context.WithoutCancel(ctx), unwatch)
		running.Wait()
		if !svc.reporter.Close(flushTimeout) {
			svc.log.Warn("not all reports have reached Sentry")
		}
	}()
	tooLate := time.After(svc.settings.DrainDelay + svc.settings.DrainTimeout + endTimeout)
	for {
		select {
		case <-tooLate:
			svc.log.Warn("something does not end: the process ends without it")
			<-drained // has a time of its own
			return cmp.Or(err, endErr)
		case <-ended:
			if err == nil {
				return endErr
			}
			if endErr != nil {
				svc.log.Error("shutting down", zap.Error(endErr))
			}
			return err // what it began with
		case s := <-signals:
			if s != syscall.SIGHUP {
				svc.log.Error("a second signal: ending at once", zap.Stringer("signal", s))
				return ErrCutShort
			}
		}
	}
}

// announce says where the service listens.
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

// await returns when the service has to end. The error is that of a server.
func (svc *service) await(ctx context.Context, signals <-chan os.Signal, failed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			svc.log.Info("shutting down", zap.Error(context.Cause(ctx)))
			return nil
		case err := <-failed:
			svc.log.Error("a server has failed: shutting down", zap.Error(err))
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

// drain has load balancers notice, then refuses new uploads, waits for those under
// way as long as the settings say, and ends the rest.
func (svc *service) drain(ctx context.Context) error {
	svc.health.SetDraining()
	<-time.After(svc.settings.DrainDelay)
	ctx, cancel := context.WithTimeout(ctx, svc.settings.DrainTimeout)
	defer cancel()
	return svc.api.Drain(ctx)
}

// closeAll ends what is left once no upload is under way. Pages that watch are let
// go before the servers wait for their connections.
func (svc *service) closeAll(ctx context.Context, unwatch context.CancelFunc) {
	svc.janitor.stop() // before the embedded S3, which it may be cleaning
	unwatch()
	var closing sync.WaitGroup
	for _, e := range svc.endpoints() {
		if e != nil {
			closing.Go(func() {
				if err := e.end(ctx); err != nil {
					svc.log.Warn("closing a server", zap.String("address", e.address()), zap.Error(err))
				}
			})
		}
	}
	closing.Wait()
	svc.repeats.Flush()
	svc.log.Info("shut down")
}
