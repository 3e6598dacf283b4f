package main

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/health/answer"
)

// newLogger returns a logger that writes to w: JSON lines, in the format
// "mozlog" those of Mozilla's log schema, or in the format "console" lines for
// people. level is one that zap knows.
func newLogger(w io.Writer, level, format string) (*zap.Logger, error) {
	least, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, err
	}
	config := zap.NewProductionEncoderConfig()
	config.TimeKey = "time"
	config.EncodeDuration = zapcore.SecondsDurationEncoder
	config.EncodeTime = func(t time.Time, out zapcore.PrimitiveArrayEncoder) {
		out.AppendString(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
	}
	out := zapcore.Lock(printable{zapcore.AddSync(w)})
	encoder := zapcore.NewJSONEncoder(config)
	switch format {
	case "mozlog":
		return zap.New(newMozlog(out, least)), nil
	case "console":
		config.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		config.EncodeLevel = zapcore.CapitalLevelEncoder
		config.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewConsoleEncoder(config)
	}
	return zap.New(zapcore.NewCore(encoder, out, least)), nil
}

// printable keeps what clients choose from doing anything to the terminal of
// whoever reads the log. Fields are JSON in every format.
type printable struct {
	zapcore.WriteSyncer
}

// Write implements [io.Writer].
func (p printable) Write(line []byte) (int, error) {
	if _, err := p.WriteSyncer.Write(answer.Printable(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}
