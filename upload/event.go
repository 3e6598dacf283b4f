package upload

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/stream"
)

// levels are how much whoever is on call has to do with an outcome.
var levels = map[outcome]zapcore.Level{
	outcomeStored:   zapcore.InfoLevel,
	outcomeRefused:  zapcore.InfoLevel,
	outcomeGone:     zapcore.InfoLevel,
	outcomeTimedOut: zapcore.WarnLevel,
	outcomeShutDown: zapcore.WarnLevel,
	outcomeFailed:   zapcore.ErrorLevel,
	outcomeDefect:   zapcore.ErrorLevel,
}

// log writes the one event of an upload: what it was, and how it ended.
func (u *upload) log(v verdict, err error) {
	fields := []zap.Field{
		zap.Int64("id", u.id),
		zap.String("user", u.token.Email),
		zap.String("outcome", string(v.outcome)),
		zap.Int("status", v.status),
		zap.String("filename", u.filename),
		zap.Int64("archive_bytes", u.archiveBytes),
		zap.Bool("try", u.try),
	}
	fields = append(fields, u.timeFields()...)
	if u.report != nil {
		fields = append(fields,
			zap.Int("entries", u.report.Entries),
			zap.Int64("expanded_bytes", u.report.Expanded),
			zap.Int("ignored", len(u.report.Ignored)),
			zap.String("biggest_entry", u.report.Biggest),
			zap.Int64("biggest_entry_bytes", u.report.BiggestSize),
			zap.String("at_entry", u.report.At),
			zap.Object("kinds", kinds(u.report.Kinds)),
		)
	}
	if u.batch != nil {
		fields = append(fields,
			zap.Int("uploaded", len(u.batch.Uploaded())),
			zap.Int("skipped", len(u.batch.Skipped())),
			zap.Int64("sent_bytes", u.batch.Sent()),
		)
	}
	if u.share != nil {
		fields = append(fields, zap.Int64("peak_memory_bytes", u.share.Peak()), zap.Int64("peak_spilled_bytes", u.share.PeakSpilled()))
	}
	if err != nil {
		fields = append(fields, zap.String("error", err.Error()))
	}
	if u.abortErr != nil {
		fields = append(fields, zap.NamedError("abort_error", u.abortErr))
	}
	fields = append(fields, stackOf(err)...)
	u.api.cfg.Log.Log(levels[v.outcome], "upload", fields...)
}

// kinds are the files of an archive by their kind, as a field of the log.
type kinds map[string]stream.Kind

// MarshalLogObject implements [zapcore.ObjectMarshaler].
func (k kinds) MarshalLogObject(out zapcore.ObjectEncoder) error {
	for _, name := range slices.Sorted(maps.Keys(k)) {
		err := out.AddObject(name, zapcore.ObjectMarshalerFunc(func(out zapcore.ObjectEncoder) error {
			out.AddInt("files", k[name].Files)
			out.AddInt64("bytes", k[name].Bytes)
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
func (u *upload) timeFields() []zap.Field {
	spent, workers := u.account.Spent()
	var wall time.Duration
	for _, d := range spent {
		wall += d
	}
	return []zap.Field{
		zap.Duration("duration", wall),
		zap.Duration("waited_client", spent[stream.OnClient]),
		zap.Duration("waited_memory", spent[stream.OnMemory]),
		zap.Duration("waited_s3", spent[stream.OnStore]),
		zap.Duration("waited_disk", spent[stream.OnDisk]),
		zap.Duration("worked", spent[stream.OnNothing]),
		zap.Duration("workers_worked", workers),
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
