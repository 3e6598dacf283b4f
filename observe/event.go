package observe

import (
	"errors"
	"net/http"
	"net/netip"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/internal/account"
	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/internal/sender"
)

// levels are the log levels of outcomes: the higher, the more there is to do for
// whoever is on call.
var levels = map[outcome.Outcome]zapcore.Level{
	outcome.Stored:     zapcore.InfoLevel,
	outcome.Refused:    zapcore.InfoLevel,
	outcome.ClientGone: zapcore.InfoLevel,
	outcome.TimedOut:   zapcore.WarnLevel,
	outcome.ShutDown:   zapcore.WarnLevel,
	outcome.Failed:     zapcore.ErrorLevel,
	outcome.Defect:     zapcore.ErrorLevel,
}

// log writes the one event of an upload. Anybody can cause those of anonymous
// requests, so one a minute is written for each message and client.
func (u *Uploads) log(x *Upload, e *Ended) {
	level, fields := levels[e.Outcome], eventFields(x, e)
	if !e.Anonymous {
		u.cfg.Log.Log(level, "upload", fields...)
		return
	}
	u.cfg.Repeats.DoFrom(e.Message, x.sender.Network(), func(omitted int) {
		u.cfg.Log.Log(level, "upload", append(fields, zap.Int("omitted", omitted))...)
	})
}

// addressText returns an address as text; empty if it is unknown.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func eventFields(x *Upload, e *Ended) []zap.Field {
	fields := []zap.Field{
		zap.Int64("id", x.id),
		zap.String("request_id", x.sender.RequestID),
		zap.String("user", e.User),
		zap.String("token_digest", x.sender.TokenDigest),
		zap.String("client_address", addressText(x.sender.Address)),
		zap.String("user_agent", x.sender.UserAgent),
		zap.String("outcome", string(e.Outcome)),
		zap.String("reason", string(e.Reason)),
		zap.Int("status", e.Status),
	}
	if id := x.trace.loggedID(e.Anonymous); id != "" {
		fields = append(fields, zap.String("trace_id", id))
	}
	fields = append(fields, shapeFields(&e.Shape)...)
	fields = append(fields, timeFields(&e.Spent)...)
	if d := e.Download; d != nil {
		fields = append(fields, zap.String("download_url", d.URL), zap.Strings("redirect_urls", d.Redirects),
			zap.Int64("download_bytes", d.Bytes), zap.Int("download_requests", d.Requests), zap.Int("download_resumes", d.Resumes))
	}
	if e.Receipt != "" {
		fields = append(fields, zap.String("receipt", e.Receipt))
	}
	if e.Err != nil {
		fields = append(fields, zap.String("error", e.Err.Error()))
	}
	if e.AbortErr != nil {
		fields = append(fields, zap.NamedError("abort_error", e.AbortErr))
	}
	if p, ok := errors.AsType[*guard.PanicError](e.Err); ok {
		fields = append(fields, zap.ByteString("stack", p.Stack))
	}
	return fields
}

// shapeFields describe the archive.
func shapeFields(s *Shape) []zap.Field {
	return []zap.Field{
		zap.String("filename", s.Filename),
		zap.Bool("try", s.Try),
		zap.Int64("archive_bytes", s.ArchiveBytes),
		zap.Int64("expanded_bytes", s.ExpandedBytes),
		zap.Int64("md5_bytes", s.HashedBytes),
		zap.Int("entries", s.Entries),
		zap.Object("kinds", kindFields(s.Kinds)),
		zap.String("biggest_entry", s.Biggest),
		zap.Int64("biggest_entry_bytes", s.BiggestBytes),
		zap.String("at_entry", s.At),
		zap.Int("uploaded", s.Uploaded),
		zap.Int("skipped", s.Skipped),
		zap.Int("unread", s.Unread),
		zap.Int("ignored", s.Ignored),
		zap.Int64("sent_bytes", s.SentBytes),
		zap.Int64("peak_memory_bytes", s.PeakMemoryBytes),
		zap.Int64("peak_spilled_bytes", s.SpilledBytes),
	}
}

// kindFields are the files of an archive by kind.
type kindFields []Kind

// MarshalLogObject implements [zapcore.ObjectMarshaler].
func (k kindFields) MarshalLogObject(out zapcore.ObjectEncoder) error {
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

// timeFields are the upload's duration and where it went. All but the workers' time
// add up to the duration.
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

// OnPanic returns a function that logs and reports the panic of a request.
func OnPanic(log *zap.Logger, reporter *Reporter) func(*http.Request, *guard.PanicError) {
	return func(r *http.Request, p *guard.PanicError) {
		id := sender.Of(r.Context()).RequestID
		log.Error("panic", zap.Error(p), zap.String("request_id", id), zap.String("path", r.URL.Path), zap.ByteString("stack", p.Stack))
		reporter.Panic(p, id)
	}
}
