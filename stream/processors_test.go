package stream_test

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// TestWaitingTakesNoProcessor has more uploads than processors, all waiting in the middle of
// an entry. Another upload runs as if they were not there.
func TestWaitingTakesNoProcessor(t *testing.T) {
	many := runtime.GOMAXPROCS(0) + 1
	streamed := archive.Entry{Name: "a.dll", Data: archive.Noise(1, part+mib), Method: archive.Deflate, Descriptor: archive.Signed32}
	data := archive.Build(streamed)
	other := archive.Build(streamed, archive.Entry{Name: "b.sym", Data: archive.Symbols(1, 100_000), Method: archive.Deflate})
	for name, wait := range map[string]func(t *testing.T, m *budget.Budget) (end func()){
		"for the client": func(t *testing.T, m *budget.Budget) func() {
			source := ziptest.StallAt(data, mib)
			ended := background(t, m, source, 0)
			return func() { source.LetGo(); <-ended }
		},
		"for the store": func(t *testing.T, m *budget.Budget) func() {
			s := ziptest.NewStore(t, m)
			letGo, ended := make(chan struct{}), make(chan struct{})
			s.OnPart = func(context.Context, *ziptest.Object) (bool, error) {
				<-letGo
				return true, nil
			}
			go func() {
				defer close(ended)
				if _, _, err := (ziptest.Reading{Data: data, Budget: m, Store: s, Shared: true}).Do(t); err != nil {
					t.Error(err)
				}
			}()
			return func() { close(letGo); <-ended }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := budgettest.New(t, func(c *budget.Config) { c.Memory, c.Uploads = 1<<30, many+1 })
				for range many {
					defer wait(t, m)()
				}
				synctest.Wait()
				begun := time.Now()
				ended := make(chan error, 1)
				go func() {
					_, _, err := ziptest.Reading{Source: bytes.NewReader(other), Budget: m, Shared: true}.Do(t)
					ended <- err
				}()
				if err := <-ended; err != nil || time.Since(begun) > 0 {
					t.Errorf("the other upload ended after %v with error %v", time.Since(begun), err)
				}
			})
		})
	}
}
