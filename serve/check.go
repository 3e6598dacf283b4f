package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/term"

	"spillway/check"
	"spillway/internal/s3event"
	"spillway/observe"
	"spillway/s3sink"
	"spillway/settings"
	"spillway/stream/budget"
	"spillway/tokens"
)

// servers is how many listeners there are.
const servers = 2

// RunCheck checks the settings, the machine and the store, and writes the results to stdout, as
// a table or as JSON. It changes nothing, listens on no address of the settings, and may run
// beside an instance. s must be complete. The error is a [check.FailedError] if something is
// wrong. A signal ends it; it then still removes its objects.
func RunCheck(ctx context.Context, s *settings.Serve, asJSON bool, getenv func(string) string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	room, err := s.NewBudget(budget.SpillConfig{})
	if err != nil {
		return err
	}
	results := append(checkSettings(ctx, s), checkMachine(s, examineSpill(ctx, s))...)
	stored, err := checkStore(ctx, s, room)
	if err != nil {
		return err
	}
	results = append(results, stored...)
	if asJSON {
		err = check.WriteJSON(stdout, results)
	} else {
		out, isFile := stdout.(*os.File)
		err = check.WriteTable(stdout, results, isFile && term.IsTerminal(int(out.Fd())) && getenv("NO_COLOR") == "")
	}
	return errors.Join(err, check.Failed(results))
}

// checkSettings checks the settings and the files that they name.
func checkSettings(ctx context.Context, s *settings.Serve) []check.Result {
	var results []check.Result
	invalid := func(err error) { results = append(results, check.Invalid("settings", err)) }
	if reporter, err := observe.NewReporter(s.SentryDSN, Version().Version); err != nil {
		invalid(fmt.Errorf("--sentry-dsn: %w", err))
	} else {
		reporter.Close(reportFlushTimeout)
	}
	if _, err := certificate(s); err != nil {
		invalid(err)
	}
	if len(results) == 0 {
		results = append(results, check.Settings(s))
	}
	return append(results, examineTokens(ctx, s).Result(s))
}

// examineTokens reads the tokens file, and probes the server of --tokens-upstream. It does not
// wait long for a file system or a server that hangs.
func examineTokens(ctx context.Context, s *settings.Serve) (found check.Tokens) {
	set, err := readTokens(s, zap.NewNop())
	if err != nil {
		return check.Tokens{Err: err}
	}
	found.Status = set.Status()
	found.Expiring = expiryWarning(found.Status.Expiring)
	if s.TokensUpstream != "" {
		found.Upstream = newUpstream(s, zap.NewNop(), func(tokens.Result, time.Duration) {}).Probe(ctx)
	}
	if s.TokensFile == "" {
		return found
	}
	info, err := inTime(readTimeout, errReadHangs, func() (os.FileInfo, error) { return os.Stat(s.TokensFile) })
	if err != nil {
		return check.Tokens{Err: err}
	}
	found.Mode = info.Mode()
	return found
}

// checkMachine checks what the settings need of the machine.
func checkMachine(s *settings.Serve, spill check.Spill) []check.Result {
	return append(spill.Results(s), check.Files(s, servers*(maxSpareConns+maxMoreConns)), check.Memory(s, spill))
}

// examineSpill opens the spill folder and describes it.
func examineSpill(ctx context.Context, s *settings.Serve) check.Spill {
	if s.SpillQuota == 0 {
		return check.Spill{}
	}
	disk, err := openSpill(s, budget.OpenDisk)
	if err != nil {
		return check.Spill{Err: err}
	}
	room, err := s.NewBudget(budget.SpillConfig{Disk: disk, Quota: int64(s.SpillQuota), UploadQuota: int64(s.SpillUploadQuota), MinFree: int64(s.SpillMinFree)})
	if err != nil {
		return check.Spill{Err: err}
	}
	found := describeSpill(ctx, s, room.Spill())
	if found.Err == nil {
		found.Err = room.Spill().Probe(ctx)
	}
	return found
}

// describeSpill describes a spill folder that is open. It does not write there: probes are one
// at a time, and the service has its own.
func describeSpill(ctx context.Context, s *settings.Serve, spill *budget.Spill) (found check.Spill) {
	if s.SpillQuota == 0 {
		return found
	}
	found.Traits, found.Err = inTime(openTimeout, budget.ErrDiskHangs, func() (budget.DiskTraits, error) { return budget.DescribeDisk(s.SpillDir) })
	if found.Err == nil {
		found.Free, _, found.Err = spill.Free(ctx)
	}
	return found
}

// checkStore tries the store, and compares its clock with this machine's.
func checkStore(ctx context.Context, s *settings.Serve, room *budget.Budget) ([]check.Result, error) {
	var embedded *endpoint
	if s.EmbeddedS3() {
		handler, err := newEmbedded(s)
		if err != nil {
			return []check.Result{check.Invalid("s3", err)}, nil
		}
		// On any free port: that of the settings may be in use by an instance.
		quiet := log.New(io.Discard, "", 0)
		if embedded, err = listen(ctx, handler, listenConfig{address: "127.0.0.1:0", log: quiet, maxKept: maxSpareConns}); err != nil {
			return nil, err
		}
		go func() { _ = embedded.Serve(embedded.listener) }() // it ends with end
		defer func() { _ = embedded.end(context.WithoutCancel(ctx)) }()
	}
	cfg := storeConfig(s, embedded, room)
	clock := &leastOffset{}
	cfg.OnAttempt = func(_ context.Context, a s3event.Attempt) { clock.see(a) }
	sink, err := s3sink.New(ctx, cfg)
	if err != nil {
		return []check.Result{check.Invalid("s3", err)}, nil
	}
	actions := sink.Check(ctx)
	return append(check.Store(actions, sink.Checksums()), clock.results()...), nil
}

// leastOffset is the least difference between this machine's clock and the store's that an
// answer has shown.
type leastOffset struct {
	mu    sync.Mutex
	ahead time.Duration
	known bool
}

func (o *leastOffset) see(a s3event.Attempt) {
	ahead, ok := check.ClockAhead(a)
	o.mu.Lock()
	defer o.mu.Unlock()
	if ok && (!o.known || ahead.Abs() < o.ahead.Abs()) {
		o.ahead, o.known = ahead, true
	}
}

// results returns the result of the clock, if an answer has shown it.
func (o *leastOffset) results() []check.Result {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.known {
		return nil
	}
	return []check.Result{check.Clock(o.ahead)}
}
