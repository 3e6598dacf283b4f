package serve

import (
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// mozlog is a core that writes JSON lines in Mozilla's log schema, version 2.0
// (Mozilla, "Dockerflow", section "Logging"): a fixed envelope, with the message and the
// fields of the event in "Fields".
type mozlog struct {
	zapcore.Core
}

func newMozlog(out zapcore.WriteSyncer, levels zapcore.LevelEnabler) zapcore.Core {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey:        "Timestamp",
		EncodeTime:     zapcore.EpochNanosTimeEncoder,
		LevelKey:       "Severity",
		EncodeLevel:    severity,
		EncodeDuration: zapcore.SecondsDurationEncoder,
	})
	host, _ := os.Hostname() // empty if it is unknown
	core := zapcore.NewCore(encoder, out, levels)
	return mozlog{core.With([]zapcore.Field{
		zap.String("Type", "app.log"),
		zap.String("Logger", "spillway"),
		zap.String("Hostname", host),
		zap.String("EnvVersion", "2.0"),
		zap.Int("Pid", os.Getpid()),
		zap.Namespace("Fields"),
	})}
}

// severity encodes a level as one of syslog's (RFC 5424, section 6.2.1).
func severity(l zapcore.Level, out zapcore.PrimitiveArrayEncoder) {
	switch {
	case l <= zapcore.DebugLevel:
		out.AppendInt(7)
	case l == zapcore.InfoLevel:
		out.AppendInt(6)
	case l == zapcore.WarnLevel:
		out.AppendInt(4)
	case l == zapcore.ErrorLevel:
		out.AppendInt(3)
	default:
		out.AppendInt(2)
	}
}

// With implements [zapcore.Core].
func (m mozlog) With(fields []zapcore.Field) zapcore.Core { return mozlog{m.Core.With(fields)} }

// Check implements [zapcore.Core].
func (m mozlog) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if m.Enabled(e.Level) {
		return checked.AddCore(e, m)
	}
	return checked
}

// Write implements [zapcore.Core].
func (m mozlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return m.Core.Write(e, append([]zapcore.Field{zap.String("msg", e.Message)}, fields...))
}
