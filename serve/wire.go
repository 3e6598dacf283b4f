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

	"spillway/fetch"
	"spillway/health"
	"spillway/internal/guard"
	"spillway/internal/s3event"
	"spillway/internal/sender"
	"spillway/internal/throttle"
	"spillway/observe"
	"spillway/s3sink"
	"spillway/settings"
	"spillway/stream/budget"
	"spillway/tokens"
	"spillway/upload"
)

const (
	// overhead is the memory of the process besides the budget, in bytes: code, stacks,
	// connections and their buffers.
	overhead = 40 << 20

	// Deadlines of the janitor's tasks. A sweep may abort the uploads of a thousand dead
	// processes. Cleaning the spill folder gets twice the timeout of one disk call.
	sweepDeadline = 10 * time.Minute
	cleanDeadline = time.Minute

	// devKey is the access key and the secret key of the embedded S3 server, which
	// checks neither.
	devKey = "spillway"
)

// service holds the parts of the serve command.
type service struct {
	settings  *settings.Serve
	overrides overrides
	log       *zap.Logger
	logLines  *asyncWriter       // writes the log
	repeats   *throttle.Throttle // for log lines that any client can cause
	metrics   *observe.Metrics
	reporter  *observe.Reporter
	tracer    *observe.Tracer // nil without an endpoint for traces
	tokens    *tokens.Set
	clock     *clockWatch
	pressure  *health.Pressure
	budget    *budget.Budget
	janitor   *janitor
	api       *upload.API
	health    *health.Health
	pages     *observe.Admin

	public   *endpoint
	admin    *endpoint
	embedded *endpoint // the S3 server of --dev; nil without one

	notifySocket string // of systemd; empty without it
}

// newService assembles the service and opens its listeners, but serves nothing yet. The
// error is a [*settings.Error] if a setting has to change.
func newService(ctx context.Context, s *settings.Serve, o overrides, getenv func(string) string, log *zap.Logger, logLines *asyncWriter) (_ *service, err error) {
	svc := &service{
		settings: s, overrides: o, log: log, logLines: logLines,
		repeats: throttle.New(repeatInterval), notifySocket: getenv("NOTIFY_SOCKET"),
	}
	defer func() {
		if err != nil {
			svc.closeListeners()
			svc.flushReports(ctx)
		}
	}()
	version := Version()
	svc.metrics = observe.NewMetrics(version)
	if svc.reporter, err = observe.NewReporter(s.SentryDSN, version.Version); err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--sentry-dsn: %w", err)}
	}
	svc.tracer, err = observe.NewTracer(ctx, observe.TracerConfig{Release: version.Version, Log: log, Repeats: svc.repeats})
	if err != nil {
		return nil, &settings.Error{Err: err}
	}
	if svc.tokens, err = newTokens(s, log, svc.metrics.TokenAsked); err != nil {
		return nil, err
	}
	svc.clock = &clockWatch{log: log}
	svc.pressure = svc.newPressure()
	spill, err := svc.spillConfig()
	if err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--spill-dir: %w", err)}
	}
	if svc.budget, err = s.NewBudget(spill); err != nil {
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
	svc.buildHandlers(version, sink)
	if err := svc.listen(ctx); err != nil {
		return nil, err
	}
	limitHeap(s, getenv)
	return svc, nil
}

// buildHandlers builds the API, the probes and the admin pages.
func (svc *service) buildHandlers(version health.Version, sink *s3sink.Sink) {
	s := svc.settings
	outcomes := health.NewOutcomes(health.OutcomeConfig{Window: svc.overrides.outcomeWindow, RoomWait: s.RoomWait})
	uploads := observe.NewUploads(observe.UploadsConfig{
		Log: svc.log, Repeats: svc.repeats, Metrics: svc.metrics, Reporter: svc.reporter, Outcomes: outcomes, Tracer: svc.tracer,
	})
	panicked := observe.OnPanic(svc.log, svc.reporter)
	svc.api = svc.newAPI(store{sink}, uploads, panicked)
	svc.health = health.New(health.Config{
		Version:   version,
		Storage:   sink.Probe,
		Explain:   s3sink.Explain,
		Checksums: sink.Checksums,
		ProbeLife: svc.overrides.probeLife,
		Memory:    svc.budget.Usage,
		Spill:     svc.budget.Spill().Usage,
		Pressure:  svc.pressure,
		Outcomes:  outcomes,
		Holders:   uploads.Holders,
		Tasks:     svc.janitor.states,
		Checks:    []func() health.Check{svc.checkLog, svc.checkTokens, checkFiles},
		Allowed:   svc.tokens.Authorized,
		Panicked:  panicked,
		Log:       svc.log,
	})
	svc.pages = observe.NewAdmin(observe.AdminConfig{
		Version:      version,
		Health:       svc.health,
		Pressure:     svc.pressure,
		Outcomes:     outcomes,
		Uploads:      uploads,
		Metrics:      svc.metrics,
		Reporter:     svc.reporter,
		Tracer:       svc.tracer,
		Memory:       svc.budget.Usage,
		MemoryIdle:   svc.budget.Idle,
		Spill:        svc.budget.Spill().Usage,
		Tasks:        svc.janitor.states,
		Tokens:       svc.tokens.Status,
		DroppedLines: func() int { return svc.logLines.stats().Dropped },
		Hosts:        s.AdminHosts,
		Panicked:     panicked,
		Log:          svc.log,
	})
}

// newAPI returns the handler of uploads.
func (svc *service) newAPI(store upload.Store, uploads *observe.Uploads, panicked func(*http.Request, *guard.PanicError)) *upload.API {
	s := svc.settings
	return upload.New(upload.Config{
		Budget:          svc.budget,
		Store:           store,
		Tokens:          svc.tokens,
		Fetch:           fetch.New(svc.fetchConfig()),
		Log:             svc.log,
		Uploads:         uploads,
		Panicked:        panicked,
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
}

// fetchConfig returns the configuration of downloads.
func (svc *service) fetchConfig() fetch.Config {
	s := svc.settings
	cfg := fetch.Config{Domains: s.DownloadDomains, Idle: s.IdleTimeout, Any: s.DownloadAny}
	if svc.tracer != nil {
		cfg.OnRequest = func(ctx context.Context, r fetch.Request) { svc.tracer.Fetched(ctx, observe.Fetched(r)) }
	}
	return cfg
}

// listen opens the endpoints of the API and of the admin pages.
func (svc *service) listen(ctx context.Context) error {
	s := svc.settings
	handler, err := svc.handler()
	if err != nil {
		return err
	}
	certificate, err := certificate(s)
	if err != nil {
		return err
	}
	serverLog := newServerLog(svc.log, svc.repeats)
	if svc.public, err = listen(ctx, handler, listenConfig{address: s.Listen, log: serverLog, keyPairs: certificate}); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if svc.admin, err = listen(ctx, svc.pages, listenConfig{address: s.AdminListen, log: serverLog, maxKept: maxAdminRequests}); err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	return nil
}

// embedS3 builds the S3 server of --dev and opens its endpoint.
func (svc *service) embedS3(ctx context.Context) error {
	s := svc.settings
	handler, err := newEmbedded(s)
	if err != nil {
		return err
	}
	if svc.embedded, err = listen(ctx, handler, listenConfig{address: s.DevS3Listen, log: newServerLog(svc.log, svc.repeats), maxKept: maxSpareConns}); err != nil {
		return fmt.Errorf("--dev-s3-listen: %w", err)
	}
	return nil
}

// newEmbedded returns the S3 server of --dev.
func newEmbedded(s *settings.Serve) (http.Handler, error) {
	handler, err := s3sink.NewEmbedded(slices.Compact([]string{s.S3Bucket, cmp.Or(s.S3TryBucket, s.S3Bucket)})...)
	if err != nil {
		return nil, &settings.Error{Err: fmt.Errorf("--s3-bucket: %w", err)}
	}
	return handler, nil
}

// newSink returns the store. Its part size is that of the budget.
func (svc *service) newSink(ctx context.Context) (*s3sink.Sink, error) {
	cfg := storeConfig(svc.settings, svc.embedded, svc.budget)
	cfg.OnAttempt = func(ctx context.Context, a s3event.Attempt) {
		svc.metrics.Attempt(a, svc.tracer.TraceID(ctx))
		svc.clock.see(a)
	}
	if svc.tracer != nil {
		cfg.OnOperation = svc.tracer.Operation
	}
	cfg.OnSDKLog = func(debug bool, message string) {
		level := zap.WarnLevel
		if debug {
			level = zap.DebugLevel
		}
		svc.log.Log(level, "AWS SDK", zap.String("text", message))
	}
	cfg.OnMultipart = svc.metrics.Multipart
	cfg.OnChecksum = func(bucket string, kind s3event.Checksum) {
		svc.metrics.Checksum(bucket, kind)
		svc.log.Info("the store checks what it gets", zap.String("bucket", bucket), zap.String("checksum", string(kind)))
	}
	if svc.overrides.adjustStore != nil {
		svc.overrides.adjustStore(&cfg)
	}
	return s3sink.New(ctx, cfg)
}

// storeConfig returns the part of a sink's configuration that the settings determine. embedded
// is the endpoint of the S3 server of --dev; nil without one.
func storeConfig(s *settings.Serve, embedded *endpoint, b *budget.Budget) s3sink.Config {
	cfg := s3sink.Config{
		Bucket:         s.S3Bucket,
		TryBucket:      s.S3TryBucket,
		Region:         s.S3Region,
		Endpoint:       s.S3Endpoint,
		PathStyle:      s.S3PathStyle,
		Prefix:         s.S3Prefix,
		TryPrefix:      s.S3TryPrefix,
		ReceiptsPrefix: s.ReceiptsPrefix,
		PartSize:       int64(b.PartSize()),
		Concurrency:    s.S3Concurrency,
		SkipBySize:     s.SkipBySize,
		Verify:         s.S3Verify,
	}
	if s.Dev {
		cfg.DefaultRegion = "us-east-1"
	}
	if embedded != nil {
		cfg.Endpoint = "http://" + embedded.address()
		cfg.AccessKey, cfg.SecretKey = devKey, devKey
	}
	return cfg
}

// newJanitor returns a janitor that removes what dead processes and lost responses left
// behind. sweep aborts multipart uploads older than age. The tasks are independent.
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
			run:      svc.budget.Spill().Clean,
		})
	}
	return j
}

// store is a sink as an [upload.Store].
type store struct {
	*s3sink.Sink
}

// Begin implements [upload.Store].
func (s store) Begin(ctx context.Context, fail func(cause error), share *budget.Share, try bool) upload.Batch {
	return s.Sink.Begin(ctx, fail, share, try)
}

// handler routes requests of the API by path.
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
	route := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := handlers[r.URL.Path]; ok {
			h.ServeHTTP(w, r)
			return
		}
		svc.api.ServeHTTP(w, r)
	})
	return sender.Identify(svc.settings.Proxies(), upload.LimitHeader(route)), nil
}

// limitHeap sets the memory limit of the Go runtime near the budget, unless GOMEMLIMIT is
// set or the embedded S3 server keeps objects in the heap.
func limitHeap(s *settings.Serve, getenv func(string) string) {
	if getenv("GOMEMLIMIT") == "" && !s.EmbeddedS3() {
		debug.SetMemoryLimit(int64(s.Memory) + overhead)
	}
}
