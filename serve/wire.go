package serve

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"

	"spillway/health"
	"spillway/internal/throttle"
	"spillway/s3sink"
	"spillway/settings"
	"spillway/stream"
	"spillway/tokens"
	"spillway/upload"
)

const (
	// overhead is what the process takes beside the budget, in bytes: code,
	// stacks, connections and their buffers.
	overhead = 48 << 20

	// sweepDeadline is the time for aborting what a thousand processes have left,
	// cleanDeadline that for reading a folder and looking at the files that are
	// open, twice as long as one call of the disk is waited for.
	sweepDeadline = 10 * time.Minute
	cleanDeadline = time.Minute

	// devKey is the access key and the secret of the embedded S3, which checks
	// neither.
	devKey = "spillway"
)

// service is the parts of the serve command, put together.
type service struct {
	settings  *settings.Serve
	overrides overrides
	log       *zap.Logger
	logLines  *asyncWriter       // what log writes to; may be nil
	repeats   *throttle.Throttle // of log lines that any client can cause
	metrics   *health.Metrics
	reporter  *health.Reporter
	tokens    *tokens.Set
	spill     *stream.Spill
	pressure  *health.Pressure
	memory    *stream.Memory
	janitor   *janitor
	api       *upload.API
	health    *health.Health

	public   *endpoint
	admin    *endpoint
	embedded *endpoint // the S3 server of --dev; nil if there is none
}

// newService puts the parts together and listens; it serves nothing yet. Its
// error is a [*settings.Error] where that is what it takes to get on.
func newService(ctx context.Context, s *settings.Serve, o overrides, getenv func(string) string, log *zap.Logger, logLines *asyncWriter) (_ *service, err error) {
	svc := &service{settings: s, overrides: o, log: log, logLines: logLines, repeats: throttle.New(repeatInterval)}
	defer func() {
		if err != nil {
			svc.closeListeners()
		}
	}()
	version := healthVersion(ReadBuildInfo())
	svc.metrics = health.NewMetrics(version)
	if svc.reporter, err = health.NewReporter(s.SentryDSN, version.Version); err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--sentry-dsn: %w", err)}
	}
	if svc.tokens, err = newTokens(s, log); err != nil {
		return nil, err
	}
	svc.pressure = svc.newPressure()
	if svc.spill, err = svc.newSpill(); err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--spill-dir: %w", err)}
	}
	if svc.memory, err = s.NewMemory(svc.spill); err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--memory: %w", err)}
	}
	if s.EmbeddedS3() {
		if err := svc.embedS3(ctx); err != nil {
			return nil, err
		}
	}
	sink, err := svc.newSink(ctx)
	if err != nil {
		return nil, &settings.Error{Err: err}
	}
	svc.janitor = svc.newJanitor(sink.Sweep)
	uploads := health.NewUploads(svc.metrics, svc.reporter, health.OutcomeConfig{Window: o.outcomeWindow, RoomWait: s.RoomWait})
	svc.api = upload.New(upload.Config{
		Memory:          svc.memory,
		Store:           store{sink},
		Tokens:          svc.tokens,
		Log:             log,
		Repeats:         svc.repeats,
		Uploads:         uploads,
		Reporter:        svc.reporter,
		MaxUploadSize:   int64(s.MaxUploadSize),
		MaxEntries:      s.MaxEntries,
		MaxExpanded:     int64(s.MaxExpandedSize),
		GzipExtensions:  s.GzipExtensions,
		Disallowed:      s.DisallowedSnippets,
		MaxTokenUploads: s.MaxTokenUploads,
		MaxTokenBytes:   int64(s.MaxTokenBytes),
		IdleTimeout:     s.IdleTimeout,
		UploadTimeout:   s.UploadTimeout,
		KeepConnection:  keepConnection,
		OnArrival:       onArrival,
	})
	svc.health = health.New(health.Config{
		Version:   version,
		Storage:   sink.Probe,
		Explain:   s3sink.Explain,
		ProbeLife: o.probeLife,
		Memory: func() health.MemoryUse {
			u := svc.memory.Usage()
			return health.MemoryUse{Total: u.Total, Floors: u.Floors, Leased: u.Leased, Held: u.Held, Idle: svc.memory.Idle(), Waiting: u.Waiting}
		},
		Spill: func() health.SpillUse {
			u := svc.spill.Usage()
			return health.SpillUse{Quota: u.Quota, Used: u.Used, Stuck: u.Stuck, Hanging: u.Hanging, HangsFor: u.HangsFor}
		},
		Pressure: svc.pressure,
		Uploads:  uploads,
		Metrics:  svc.metrics,
		Reporter: svc.reporter,
		Cleaning: svc.cleaning,
		Checks:   []func() health.Check{svc.checkLog, svc.checkTokens, checkFiles},
		Tokens: func() health.TokensUse {
			s := svc.tokens.Status()
			return health.TokensUse{Age: time.Since(s.AsOf), Failed: s.Err != nil}
		},
		LostLog:    func() int { return logLines.stats().Dropped },
		Allowed:    svc.tokens.Authorized,
		AdminHosts: s.AdminHosts,
		Log:        log,
	})
	handler, err := svc.handler()
	if err != nil {
		return nil, err
	}
	certificate, err := certificate(s)
	if err != nil {
		return nil, err
	}
	serverLog := newServerLog(log, svc.repeats)
	if svc.public, err = listen(ctx, handler, listenConfig{address: s.Listen, log: serverLog, keyPairs: certificate}); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if svc.admin, err = listen(ctx, svc.health.Admin(), listenConfig{address: s.AdminListen, log: serverLog, maxKept: maxAdminRequests}); err != nil {
		return nil, fmt.Errorf("--admin-listen: %w", err)
	}
	limitHeap(s, getenv)
	return svc, nil
}

// embedS3 makes the S3 server of --dev and listens for it.
func (svc *service) embedS3(ctx context.Context) error {
	s := svc.settings
	buckets := slices.Compact([]string{s.S3Bucket, cmp.Or(s.S3TryBucket, s.S3Bucket)})
	handler, err := s3sink.NewEmbedded(buckets...)
	if err != nil {
		return &settings.Error{Err: fmt.Errorf("--s3-bucket: %w", err)}
	}
	if svc.embedded, err = listen(ctx, handler, listenConfig{address: s.DevS3Listen, log: newServerLog(svc.log, svc.repeats), maxKept: maxSpareConns}); err != nil {
		return fmt.Errorf("--dev-s3-listen: %w", err)
	}
	return nil
}

// newSink makes the store, whose parts are the budget's.
func (svc *service) newSink(ctx context.Context) (*s3sink.Sink, error) {
	s := svc.settings
	cfg := s3sink.Config{
		Bucket:      s.S3Bucket,
		TryBucket:   s.S3TryBucket,
		Region:      s.S3Region,
		Endpoint:    s.S3Endpoint,
		PathStyle:   s.S3PathStyle,
		Prefix:      s.S3Prefix,
		TryPrefix:   s.S3TryPrefix,
		PartSize:    int64(svc.memory.PartSize()),
		Concurrency: s.S3Concurrency,
		SkipBySize:  s.SkipBySize,
		OnAttempt: func(a s3sink.Attempt) {
			svc.metrics.S3Call(health.S3Call{Operation: a.Operation, Status: a.Status, Err: a.Err, Took: a.Took, Sent: a.Sent})
		},
		OnSDKLog: func(debug bool, message string) {
			level := zap.WarnLevel
			if debug {
				level = zap.DebugLevel
			}
			svc.log.Log(level, "the AWS SDK says", zap.String("text", message))
		},
		OnMultipart: func(e s3sink.MultipartEvent) { svc.metrics.Multipart(health.MultipartEvent(e)) },
	}
	if svc.embedded != nil {
		cfg.Endpoint = "http://" + svc.embedded.address()
		cfg.AccessKey, cfg.SecretKey = devKey, devKey
	}
	if svc.overrides.adjustStore != nil {
		svc.overrides.adjustStore(&cfg)
	}
	return s3sink.New(ctx, cfg)
}

// newJanitor returns a janitor for what processes that died, and answers that
// were lost, leave behind. sweep aborts multipart uploads that are older than
// an age. Neither task needs what the other one cleans.
func (svc *service) newJanitor(sweep func(ctx context.Context, age time.Duration) (int, error)) *janitor {
	j := &janitor{log: svc.log, failed: svc.reporter.JanitorFailure, tasks: []*janitorTask{{
		name:     "multipart uploads",
		deadline: sweepDeadline,
		run:      func(ctx context.Context) (int, error) { return sweep(ctx, svc.settings.SweepAge) },
	}}}
	if svc.settings.SpillQuota > 0 {
		j.tasks = append(j.tasks, &janitorTask{
			name:     "spill folder",
			deadline: cleanDeadline,
			run:      svc.spill.Clean,
		})
	}
	return j
}

// cleaning is how the janitor's tasks are doing, for the heartbeat.
func (svc *service) cleaning() []health.Task {
	var tasks []health.Task
	for _, t := range svc.janitor.report() {
		task := health.Task{
			Name: t.Name, Succeeded: t.Succeeded, Failed: t.Failed, Failures: t.Failures, Removed: t.Removed, LastSuccess: t.LastSuccess,
		}
		if !t.HangsSince.IsZero() {
			task.Hangs = time.Since(t.HangsSince)
		}
		tasks = append(tasks, task)
	}
	return tasks
}

// store is the sink as uploads see it.
type store struct {
	*s3sink.Sink
}

// Begin implements [upload.Store].
func (s store) Begin(ctx context.Context, fail func(cause error), share *stream.Share, try bool) upload.Batch {
	return s.Sink.Begin(ctx, fail, share, try)
}

// MaxName implements [upload.Store].
func (s store) MaxName(bool) int { return s.Sink.MaxName() }

// handler shares the paths out.
func (svc *service) handler() (http.Handler, error) {
	handlers := make(map[string]http.Handler)
	for _, path := range health.Paths {
		handlers[path] = svc.health
	}
	if svc.settings.Dev {
		sample, err := newSample()
		if err != nil {
			return nil, err
		}
		handlers[samplePath] = sample
	}
	return upload.LimitHeader(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := handlers[r.URL.Path]; ok {
			h.ServeHTTP(w, r)
			return
		}
		svc.api.ServeHTTP(w, r)
	})), nil
}

// limitHeap has the garbage collector keep the process near its budget, unless
// the environment has its own idea or the embedded S3 keeps objects in the heap.
func limitHeap(s *settings.Serve, getenv func(string) string) {
	if getenv("GOMEMLIMIT") == "" && !s.EmbeddedS3() {
		debug.SetMemoryLimit(int64(s.Memory) + overhead)
	}
}

func healthVersion(b BuildInfo) health.Version {
	return health.Version{Source: b.source, Version: b.version, Commit: b.commit, Build: b.build}
}
