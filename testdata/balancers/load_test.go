//go:build delivery

package balancers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/form"
)

const (
	smallSenders = 8
	largeSenders = 3

	// A large upload has parts at the store before it ends. It takes some seconds, so that
	// some are under way at each moment.
	largeSize  = 12 << 20
	largePause = 200 * time.Millisecond // for each MiB
	smallPause = 50 * time.Millisecond  // between two uploads
)

// The official client retries 429, 502, 503 and 504, five times. It waits a minute each time,
// which is shorter here. A broken connection ends it. Others, such as mozilla-central's
// script, retry that as well.
const (
	retries   = 5
	retryWait = 2 * time.Second
)

// outcome is what came of one upload.
type outcome struct {
	archive  archive.Archive
	statuses []int // of the tries; 0: no answer
	err      error // of the last
}

func (o outcome) stored() bool {
	return o.err == nil && slices.Contains(o.statuses, http.StatusCreated)
}

// load uploads without a pause, each time other files, until it is stopped.
type load struct {
	bed     *bed
	retries int
	broken  bool // retry broken connections
	stop    context.CancelFunc
	senders sync.WaitGroup

	mu       sync.Mutex
	seed     uint64
	outcomes []outcome
}

// startLoad starts the senders. They retry that often; broken: also after a connection
// broke while it was sending a large upload. wantStored stops them.
func startLoad(t *testing.T, b *bed, retries int, broken bool) *load {
	t.Helper()
	ctx := t.Context() // of uploads under way, which go on when the load is stopped
	stopped, stop := context.WithCancel(t.Context())
	l := &load{bed: b, retries: retries, broken: broken, stop: stop}
	for n := range smallSenders + largeSenders {
		l.senders.Go(func() {
			for stopped.Err() == nil {
				l.add(l.send(ctx, n < largeSenders))
				if n >= largeSenders {
					time.Sleep(smallPause)
				}
			}
		})
	}
	return l
}

func (l *load) add(o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes = append(l.outcomes, o)
}

// send uploads one archive, as often as the client tries.
func (l *load) send(ctx context.Context, large bool) (o outcome) {
	l.mu.Lock()
	l.seed++
	seed := l.seed
	l.mu.Unlock()
	block, times, pause := archive.Symbols(seed, 20_000), 1, time.Duration(0)
	if large {
		block, times, pause = archive.Noise(seed, 1<<20), largeSize>>20, largePause
	}
	o.archive = archive.Archive{Entries: []archive.Entry{{Name: archive.SymbolsName(seed), Large: &archive.Pattern{Block: block, Times: times}}}}
	size, err := io.Copy(io.Discard, o.archive.Reader())
	if err != nil {
		return outcome{err: err}
	}
	for try := 0; ; try++ {
		status, err := l.bed.upload(ctx, "dev", o.archive.Reader(), size, pause)
		o.statuses, o.err = append(o.statuses, status), err
		again := slices.Contains([]int{429, 502, 503, 504}, status) || l.broken && errors.Is(err, errBroken)
		if !again || try == l.retries {
			return o
		}
		time.Sleep(retryWait)
	}
}

// upload sends an archive of size bytes, with a pause after each MiB.
func (b *bed) upload(ctx context.Context, token string, zip io.Reader, size int64, pause time.Duration) (status int, err error) {
	f := form.New()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/upload/", &paced{r: f.Reader(zip), pause: pause})
	if err != nil {
		return 0, err
	}
	req.ContentLength = f.Length(size)
	req.Header.Set("Content-Type", f.ContentType)
	req.Header.Set("Auth-Token", token)
	if size > 1<<20 {
		return b.sendAndRead(req)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// errBroken: the connection broke before an answer.
var errBroken = errors.New("the connection broke")

// sendAndRead sends a request on a connection of its own, and reads the answer meanwhile.
// net/http may miss an answer that is followed by the end of the connection.
func (b *bed) sendAndRead(req *http.Request) (status int, err error) {
	conn, err := (&tls.Dialer{Config: b.tls}).DialContext(req.Context(), "tcp", req.URL.Host)
	if err != nil {
		return 0, err
	}
	answered, sent := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(answered)
		resp, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err == nil {
			answered <- resp.StatusCode
			_ = resp.Body.Close() // the connection is not used again
		}
	}()
	go func() {
		defer close(sent)
		_ = req.Write(conn) // the answer counts
	}()
	defer func() {
		_ = conn.Close() // the other side may have done so
		<-sent
	}()
	status, ok := <-answered
	if !ok {
		return 0, errBroken
	}
	return status, nil
}

// paced is a reader that pauses after each MiB.
type paced struct {
	r     io.Reader
	pause time.Duration
	read  int
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), 64<<10)])
	if p.read += n; p.read >= 1<<20 {
		p.read = 0
		time.Sleep(p.pause)
	}
	return n, err
}

// wantStored stops the senders after their uploads. It checks that all were stored, and that
// the bucket holds exactly those.
func (l *load) wantStored(t *testing.T) []outcome {
	t.Helper()
	l.stop()
	l.senders.Wait()
	var entries []archive.Entry
	for _, o := range l.outcomes {
		if o.stored() {
			entries = append(entries, o.archive.Entries...)
		} else {
			t.Errorf("an upload came to %v: %v", o.statuses, o.err)
		}
	}
	l.bed.WantEntries(t, entries)
	t.Logf("%d uploads, by statuses: %v", len(l.outcomes), tally(l.outcomes))
	return l.outcomes
}

// tally counts outcomes by what the tries came to.
func tally(all []outcome) map[string]int {
	counts := map[string]int{}
	for _, o := range all {
		what := fmt.Sprint(o.statuses)
		if o.err != nil {
			what += " " + o.err.Error()
		}
		counts[what]++
	}
	return counts
}
