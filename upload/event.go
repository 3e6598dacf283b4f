package upload

import (
	"context"
	"errors"
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/health"
	"spillway/internal/account"
	"spillway/internal/guard"
	"spillway/stream"
	"spillway/tokens"
)

// levels are how much whoever is on call has to do with an outcome.
var levels = map[health.Outcome]zapcore.Level{
	health.Stored:     zapcore.InfoLevel,
	health.Refused:    zapcore.InfoLevel,
	health.ClientGone: zapcore.InfoLevel,
	health.TimedOut:   zapcore.WarnLevel,
	health.ShutDown:   zapcore.WarnLevel,
	health.Failed:     zapcore.ErrorLevel,
	health.Defect:     zapcore.ErrorLevel,
}

// end writes the one event of an upload, and reports it: what it was, how it
// ended, and where its time went.
func (u *upload) end(v verdict, err error) {
	shape, spent := u.shape(), u.account.Spent()
	shape.Uploaded, shape.Skipped, shape.SentBytes = u.uploaded, u.skipped, u.sentBytes
	ended := health.Ended{Outcome: v.outcome, Reason: v.reason, Status: v.status, Shape: shape, Spent: spent, Err: err}
	if v.outcome != health.Stored {
		ended.Message = v.message
	}
	fields := append([]zap.Field{
		zap.Int64("id", u.id),
		zap.String("user", u.token.Email),
		zap.String("outcome", string(v.outcome)),
		zap.String("reason", string(v.reason)),
		zap.Int("status", v.status),
	}, shapeFields(&shape)...)
	fields = append(fields, timeFields(&spent)...)
	if err != nil {
		fields = append(fields, zap.String("error", err.Error()))
	}
	if u.abortErr != nil {
		fields = append(fields, zap.NamedError("abort_error", u.abortErr))
	}
	if e, ok := errors.AsType[*stream.StoreError](err); ok {
		ended.Detail = e.Op + ": " + e.Code
	}
	if e, ok := errors.AsType[*guard.PanicError](err); ok {
		ended.Stack = e.Stack
		fields = append(fields, zap.ByteString("stack", e.Stack))
	}
	u.log(levels[v.outcome], err, fields)
	u.reported.End(ended)
}

// log writes the event of an upload that ended with err. Anybody can cause those
// of requests without a known token: one of a kind is written a minute.
func (u *upload) log(level zapcore.Level, err error, fields []zap.Field) {
	for _, anonymous := range []error{tokens.ErrMissing, tokens.ErrUnknown} {
		if errors.Is(err, anonymous) {
			u.api.cfg.Repeats.Do(anonymous.Error(), func(omitted int) {
				u.api.cfg.Log.Log(level, "upload", append(fields, zap.Int("omitted", omitted))...)
			})
			return
		}
	}
	u.api.cfg.Log.Log(level, "upload", fields...)
}

// look is the upload as it is, for the live page.
func (u *upload) look() health.Progress {
	return health.Progress{Stage: u.stageNow(), Expected: max(0, u.r.ContentLength), Shape: u.shape(), Spent: u.account.Spent()}
}

func (u *upload) stageNow() health.Stage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stage
}

// note changes what others look at.
func (u *upload) note(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

// shape is what is known of the archive, but for what only the batch knows. Any
// goroutine may ask.
func (u *upload) shape() health.Shape {
	r := u.progress.Report()
	s := health.Shape{
		ArchiveBytes: u.archiveBytes.Load(), ExpandedBytes: r.Expanded, Entries: r.Entries, Ignored: len(r.Ignored),
		Biggest: r.Biggest, BiggestBytes: r.BiggestSize, At: r.At,
	}
	for _, name := range slices.Sorted(maps.Keys(r.Kinds)) {
		s.Kinds = append(s.Kinds, health.Kind{Name: name, Files: r.Kinds[name].Files, Bytes: r.Kinds[name].Bytes})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Filename, s.Try = u.filename, u.try
	if u.share != nil {
		s.PeakMemoryBytes, s.SpilledBytes = u.share.Peak(), u.share.PeakSpilled()
	}
	return s
}

// shapeFields are what the log says of the archive.
func shapeFields(s *health.Shape) []zap.Field {
	return []zap.Field{
		zap.String("filename", s.Filename),
		zap.Bool("try", s.Try),
		zap.Int64("archive_bytes", s.ArchiveBytes),
		zap.Int64("expanded_bytes", s.ExpandedBytes),
		zap.Int("entries", s.Entries),
		zap.Object("kinds", kinds(s.Kinds)),
		zap.String("biggest_entry", s.Biggest),
		zap.Int64("biggest_entry_bytes", s.BiggestBytes),
		zap.String("at_entry", s.At),
		zap.Int("uploaded", s.Uploaded),
		zap.Int("skipped", s.Skipped),
		zap.Int("ignored", s.Ignored),
		zap.Int64("sent_bytes", s.SentBytes),
		zap.Int64("peak_memory_bytes", s.PeakMemoryBytes),
		zap.Int64("peak_spilled_bytes", s.SpilledBytes),
	}
}

// kinds are the files of an archive by their kind, as a field of the log.
type kinds []health.Kind

// MarshalLogObject implements [zapcore.ObjectMarshaler].
func (k kinds) MarshalLogObject(out zapcore.ObjectEncoder) error {
	for _, kind := range k {
		err := out.AddObject(kind.Name, zapcore.ObjectMarshalerFunc(func(out zapcore.ObjectEncoder) error {
			out.AddInt("files", kind.Files)
			out.AddInt64("bytes", kind.Bytes)
			return nil
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

// timeFields are the upload's duration and where it went: all but the workers'
// adds up to it.
func timeFields(s *account.Spent) []zap.Field {
	return []zap.Field{
		zap.Duration("duration", s.Wall()),
		zap.Duration("waited_client", s.By[account.OnClient]),
		zap.Duration("waited_memory", s.By[account.OnMemory]),
		zap.Duration("waited_s3", s.By[account.OnStore]),
		zap.Duration("waited_disk", s.By[account.OnDisk]),
		zap.Duration("waited_remote", s.By[account.OnRemote]),
		zap.Duration("worked", s.By[account.OnCPU]),
		zap.Duration("workers_worked", s.Workers),
	}
}

// entryLog is a sink that logs, for those who look for a symbol file, what each
// verified entry says of itself.
type entryLog struct {
	stream.Sink
	log *zap.Logger
}

// Create implements [stream.Sink].
func (l entryLog) Create(e stream.Entry) stream.Object {
	return loggedEntry{l.Sink.Create(e), e.Name, l.log}
}

type loggedEntry struct {
	stream.Object
	name string
	log  *zap.Logger
}

// Commit implements [stream.Object].
func (e loggedEntry) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	if event := e.log.Check(zapcore.DebugLevel, "entry verified"); event != nil {
		s := facts.Symbol
		event.Write(
			zap.String("entry", e.name),
			zap.Int64("bytes", facts.Size),
			zap.String("os", s.OS),
			zap.String("arch", s.Arch),
			zap.String("debug_file", s.DebugFile),
			zap.String("debug_id", s.DebugID),
			zap.String("code_file", s.CodeFile),
			zap.String("code_id", s.CodeID),
			zap.String("generator", s.Generator),
		)
	}
	return e.Object.Commit(ctx, rest, facts)
}
