package serve

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/internal/answer"
)

// logReserve is the part of [asyncLimit] that only errors may fill, in bytes, so
// that a flood of other lines cannot push them out.
const logReserve = asyncLimit / 4

// openLog returns a logger that writes to w: JSON lines, in the format
// "mozlog" those of Mozilla's log schema, or in the format "console" lines for
// people. level is one that zap knows. Logging neither waits nor fails, whatever
// w does. The caller closes the asyncWriter, which writes what still waits.
func openLog(w io.Writer, level, format string) (*zap.Logger, *asyncWriter, error) {
	least, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, nil, err
	}
	lines := newAsyncWriter(w)
	isError := func(l zapcore.Level) bool { return l >= zapcore.ErrorLevel }
	core := zapcore.NewTee(
		newCore(logSink{lines, asyncLimit - logReserve}, format, zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= least && !isError(l) })),
		newCore(logSink{lines, asyncLimit}, format, zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= least && isError(l) })),
	)
	log := zap.New(core, zap.ErrorOutput(logSink{lines, asyncLimit}))
	lines.lost = func(n int) {
		// An error, because lines of every level may be among them.
		log.Error("log lines were dropped: nobody read them in time, or writing them failed", zap.Int("lines", n))
	}
	lines.start()
	return log, lines, nil
}

// newCore returns a core that writes lines of a format to out.
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

// logSink queues lines of which no more than limit bytes may wait. It escapes
// what could act on the terminal of whoever reads the log: clients choose some of
// it, and in every format fields are JSON.
type logSink struct {
	lines *asyncWriter
	limit int
}

// Write implements [io.Writer]. It never fails.
func (s logSink) Write(line []byte) (int, error) {
	s.lines.add(answer.Printable(line), s.limit)
	return len(line), nil
}

// Sync implements [zapcore.WriteSyncer]. Closing the asyncWriter flushes.
func (s logSink) Sync() error { return nil }
