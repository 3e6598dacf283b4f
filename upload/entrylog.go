package upload

import (
	"context"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/stream"
)

// entryLog is a sink that logs the header of each verified symbol file, for those who
// look for one.
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
