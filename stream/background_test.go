package stream_test

import (
	"context"
	"io"
	"testing"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/ziptest"
)

// outcome is the end of a reading in the background.
type outcome struct {
	at  time.Duration // since it began
	err error
}

// background reads an archive as an upload of its own.
func background(t *testing.T, m *budget.Budget, r io.Reader, size int) <-chan outcome {
	t.Helper()
	begin := time.Now()
	ended := make(chan outcome, 1)
	go func() {
		ctx, end := context.WithCancelCause(t.Context())
		share, err := m.Admit(ctx, budget.Upload{End: end})
		if err != nil {
			ended <- outcome{time.Since(begin), err}
			return
		}
		rules := ziptest.Ordinary
		rules.Size = int64(size)
		s := ziptest.NewStore(t, m)
		_, err = ziptest.Read(ctx, r, share, s, rules)
		s.Close()
		share.Close() // before the caller looks at the budget
		ended <- outcome{time.Since(begin), err}
	}()
	return ended
}
