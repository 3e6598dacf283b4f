package tokens

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"spillway/testdata/tecken"
)

// Clients with the same token wait for one request.
func TestAskedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		synctest.Wait()
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			answerJSON(w, inAYear().AuthInfo())
		})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { a.want("at the same time", "key", nil) })
		}
		all.Wait()
		a.wantAsked("at the same time", "key", 1)
	})
}

// A flood of tokens that were made up gets few requests through to the upstream, and neither
// delays nor replaces tokens that it has accepted.
func TestFloodOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		a.want("key", "key", nil)
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(100 * time.Millisecond)
			if r.Header.Get("Auth-Token") == "key" {
				answerJSON(w, inAYear().AuthInfo())
				return
			}
			tecken.Refuse(w, "API Token not matched")
		})
		began, before := time.Now(), len(a.server.Requests())
		var unknown, unchecked atomic.Int64
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() {
				for n := 0; time.Since(began) < 2*time.Minute; n++ {
					_, err := a.use(fmt.Sprintf("madeup%dof%d", n, i))
					switch {
					case errors.Is(err, ErrUnknown):
						unknown.Add(1)
					case errors.Is(err, ErrUnchecked):
						unchecked.Add(1)
					default:
						t.Errorf("made up: %v", err)
					}
					time.Sleep(5 * time.Second) // as clients that retry
				}
			})
		}
		for time.Since(began) < 2*time.Minute {
			asked := time.Now()
			a.want("key", "key", nil)
			if took := time.Since(asked); took > 200*time.Millisecond {
				t.Errorf("a token that was accepted before took %v", took)
			}
			time.Sleep(10 * time.Second)
		}
		all.Wait()
		requests, bound := len(a.server.Requests())-before, askBurst+askRate*130+100
		// 10 s more for the last to wait, and 100 requests for probes and the accepted token.
		t.Logf("%d refused, %d not checked, %d requests in 2 minutes", unknown.Load(), unchecked.Load(), requests)
		if requests > bound || a.most.Load() > 2*maxAsking+1 {
			t.Errorf("%d requests, at most %d at once; want at most %d and %d", requests, a.most.Load(), bound, 2*maxAsking+1)
		}
		if unknown.Load() == 0 || unchecked.Load() == 0 {
			t.Error("want some refused, and some not checked")
		}
		answers := a.Set.upstream.answers
		if n := answers.refusals.Len(); n > maxAnswers || n != len(answers.refused) {
			t.Errorf("%d refusals are remembered, by %d digests", n, len(answers.refused))
		}
	})
}

// While the upstream is slow, a burst of tokens that were made up waits, or is not checked at
// once. It does not delay a token that the upstream has accepted before.
func TestBurstOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		a.want("key", "key", nil)
		time.Sleep(acceptedFor)
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(2 * time.Second):
			case <-r.Context().Done():
			}
			if r.Header.Get("Auth-Token") == "key" {
				answerJSON(w, inAYear().AuthInfo())
				return
			}
			tecken.Refuse(w, "API Token not matched")
		})
		began := time.Now()
		var atOnce, late, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				_, err := a.use(fmt.Sprintf("madeup%d", i))
				switch took := time.Since(began); {
				case errors.Is(err, ErrUnknown):
					refused.Add(1)
				case took == 0:
					atOnce.Add(1)
				case took <= askTimeout:
					late.Add(1)
				default:
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		synctest.Wait()
		asked := time.Now()
		a.want("key", "key", nil)
		if took := time.Since(asked); took != 2*time.Second {
			t.Errorf("a token that was accepted before took %v, want 2s", took)
		}
		all.Wait()
		// In 5 s, each slot has two answers.
		if atOnce.Load() != 200-maxAsking-maxWaiting || refused.Load() != 2*maxAsking || late.Load() != maxWaiting-maxAsking {
			t.Errorf("%d not checked at once, %d after the timeout, %d refused", atOnce.Load(), late.Load(), refused.Load())
		}
	})
}

// The memory of answers is bounded, and keeps what was asked about last.
func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers()
		of := func(i int) digest { return sha256.Sum256(fmt.Append(nil, i)) }
		year := Token{ExpiresAt: time.Now().AddDate(1, 0, 0)}
		a.accept(of(-1), year, time.Now())
		for i := range 2 * maxAnswers {
			time.Sleep(time.Millisecond)
			a.refuse(of(i), ErrUnknown, time.Now())
		}
		if _, ok := a.acceptance(of(-1), time.Now()); !ok {
			t.Error("refusals replace an accepted token")
		}
		if len(a.refused) != maxAnswers || a.refusals.Len() != maxAnswers || a.refusal(of(2*maxAnswers-1), time.Now()) == nil || a.refusal(of(0), time.Now()) != nil {
			t.Errorf("%d refusals", len(a.refused))
		}
		for i := range maxAnswers {
			time.Sleep(time.Millisecond)
			a.accept(of(i), year, time.Now())
		}
		if _, ok := a.acceptance(of(-1), time.Now()); ok || len(a.accepted) != maxAnswers || a.inForce(time.Now()) != maxAnswers {
			t.Errorf("%d accepted, with the oldest: %t", len(a.accepted), ok)
		}
		a.refuse(of(5), ErrExpired, time.Now())
		if _, ok := a.acceptance(of(5), time.Now()); ok || a.refusal(of(5), time.Now()) == nil {
			t.Error("a refused token is accepted")
		}
		a.accept(of(5), year, time.Now())
		if a.refusal(of(5), time.Now()) != nil {
			t.Error("an accepted token is refused")
		}
	})
}

// A request on a connection that the upstream closes while it is idle is repeated on another.
func TestIdleConnectionThatIsClosed(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var conns atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			conns.Add(1)
			go func() {
				defer conn.Close()
				from := bufio.NewReader(conn)
				if _, err := http.ReadRequest(from); err != nil {
					return
				}
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 33\r\n\r\n"+`{"error":"API Token not matched"}`)
				_, _ = http.ReadRequest(from) // and no answer
			}()
		}
	}()
	u := NewUpstream(UpstreamConfig{URL: "http://" + listener.Addr().String(), Log: zap.NewNop(), Asked: func(Result, time.Duration) {}})
	for range 3 {
		if err := u.Probe(t.Context()); err != nil {
			t.Errorf("%v", err)
		}
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}
