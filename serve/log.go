package serve

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/internal/answer"
)

// logReserve is the part of [asyncLimit] that is reserved for errors, in bytes, so that
// other lines cannot crowd them out.
const logReserve = asyncLimit / 4

// openLog returns a logger that writes to w. format is "json", "mozlog" (JSON in
// Mozilla's log schema) or "console" (text for people); level is a level of zap.
// Logging never waits or fails, whatever w does. The caller closes the asyncWriter,
// which writes the queued lines.
func openLog(w io.Writer, level, format string) (*zap.Logger, *asyncWriter, error) {
	lowest, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, nil, err
	}
	lines := newAsyncWriter(w)
	isError := func(l zapcore.Level) bool { return l >= zapcore.ErrorLevel }
	core := zapcore.NewTee(
		newCore(logSink{lines, asyncLimit - logReserve}, format, zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= lowest && !isError(l) })),
		newCore(logSink{lines, asyncLimit}, format, zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= lowest && isError(l) })),
	)
	log := zap.New(core, zap.ErrorOutput(logSink{lines, asyncLimit}))
	lines.onDropped = func(n int) {
		// An error, because the dropped lines may include errors.
		log.Error("log lines were dropped: nobody read them in time, or writing them failed", zap.Int("lines", n))
	}
	lines.start()
	return log, lines, nil
}

// newCore returns a core that writes lines in a format to out.
func newCore(out zapcore.WriteSyncer, format string, levels zapcore.LevelEnabler) zapcore.Core {
	config := zap.NewProductionEncoderConfig()
	config.TimeKey = "time"
	config.EncodeDuration = zapcore.SecondsDurationEncoder
	config.EncodeTime = func(t time.Time, out zapcore.PrimitiveArrayEncoder) {
		out.AppendString(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
	}
	encoder := zapcore.NewJSONEncoder(config)
	switch format {
	case "mozlog":
		return newMozlog(out, levels)
	case "console":
		config.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		config.EncodeLevel = zapcore.CapitalLevelEncoder
		config.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewConsoleEncoder(config)
	}
	return zapcore.NewCore(encoder, out, levels)
}

// logSink queues lines, up to limit bytes. It escapes everything that could act on the
// reader's terminal, because clients choose some of the text. In every format, fields
// are JSON.
type logSink struct {
	lines *asyncWriter
	limit int
}

// Write implements [io.Writer]. It never fails.
func (s logSink) Write(line []byte) (int, error) {
	s.lines.add(answer.Printable(line), s.limit)
	return len(line), nil
}

// Sync implements [zapcore.WriteSyncer]. Closing the asyncWriter flushes the queue.
func (s logSink) Sync() error { return nil }
