package tokens

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"spillway/internal/account"
	"spillway/internal/guard"
)

const (
	// acceptedFor and refusedFor are how long an answer is used.
	acceptedFor = 5 * time.Minute
	refusedFor  = 30 * time.Second

	// staleFor is how long an accepted token is used while the upstream cannot be asked. It
	// covers a night.
	staleFor = 24 * time.Hour

	// askTimeout bounds a request to the upstream, and the wait before it.
	askTimeout = 5 * time.Second

	// maxAsking is how many requests about tokens that the upstream accepted before are in
	// flight at once, and as many about others: those cannot delay these.
	maxAsking = 4

	// maxWaiting is how many other tokens wait for an answer at once.
	maxWaiting = 64

	// maxToken is the longest token that is asked about, in bytes. Tecken's have 32.
	maxToken = 128
)

// askRate and askBurst bound the requests about tokens that the upstream has not accepted
// before: clients can make up any number of them.
const (
	askRate  = 20 // a second
	askBurst = 100
)

// ErrUnchecked says that nobody could tell whether a token may upload. A retry may help.
var ErrUnchecked = errors.New("upload: the token could not be checked")

// errBusy reports that too many other tokens are being asked about.
var errBusy = errors.New("too many other tokens are being asked about")

// UpstreamConfig configures an [Upstream].
type UpstreamConfig struct {
	URL       string // of the server, without the path of its API
	UserAgent string
	Log       *zap.Logger

	// Asked is called with the result and the duration of each request.
	Asked func(result Result, took time.Duration)

	// Transport sends the requests. If nil, one that speaks HTTP/1.1 and uses the proxies in
	// the environment for https.
	Transport http.RoundTripper
}

// An Upstream is another server with the same API, such as Tecken, that is asked about tokens
// that the tokens file does not have. It is trusted: whom it accepts may upload.
//
// An accepted token is used for five minutes without asking again, and for a day while the
// upstream cannot be asked, but never beyond its expiry. A refused one is refused for thirty
// seconds. The answers are kept by the digests of tokens.
type Upstream struct {
	cfg     UpstreamConfig
	url     string
	client  *http.Client
	answers *answers
	used    atomic.Int64 // when an accepted token was last used, in seconds since 1970; 0: never

	flights   singleflight.Group // by digest
	again     chan struct{}      // a slot for each request about a token that was accepted before
	first     chan struct{}      // likewise for other tokens
	firstRate *rate.Limiter
	waiting   atomic.Int64 // other tokens that wait for their answer

	health upstreamHealth
}

// NewUpstream returns an Upstream. [Set.Watch] has to run for it to be asked.
func NewUpstream(cfg UpstreamConfig) *Upstream {
	return &Upstream{
		cfg: cfg, url: strings.TrimSuffix(cfg.URL, "/") + authInfoPath, client: newClient(cfg.Transport), answers: newAnswers(),
		again: make(chan struct{}, maxAsking), first: make(chan struct{}, maxAsking), firstRate: rate.NewLimiter(askRate, askBurst),
		health: newUpstreamHealth(),
	}
}

// authenticate returns the token that a client sent, without its label. The error is
// [ErrUnknown], [ErrExpired], [ErrForbidden], or wraps [ErrUnchecked]. It takes at most twice
// the askTimeout. Time in which it waits goes to a.
func (u *Upstream) authenticate(given string, a *account.Account) (Token, error) {
	if !isToken(given) {
		return Token{}, ErrUnknown
	}
	of, now := digest(sha256.Sum256([]byte(given))), time.Now()
	if err := u.answers.refusal(of, now); err != nil {
		return Token{}, err
	}
	known, ok := u.answers.acceptance(of, now)
	if ok && known.fresh(now) {
		return u.use(known.token), nil
	}
	done := a.During(account.OnRemote)
	token, err := u.askOnce(given, of, ok)
	done()
	_, failed := errors.AsType[*AskError](err)
	switch {
	case err == nil:
		return u.use(token), nil
	case failed && ok && known.inForce(time.Now()):
		return u.use(known.token), nil
	case failed:
		return Token{}, fmt.Errorf("%w: %w", ErrUnchecked, err)
	}
	return Token{}, err
}

// use notes the use of an accepted token.
func (u *Upstream) use(t Token) Token {
	u.used.Store(time.Now().Unix())
	return t
}

// isToken reports whether a text may be a token: one word of printable ASCII.
func isToken(text string) bool {
	return text != "" && len(text) <= maxToken && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// askOnce asks about a token, once for all clients that wait for the answer at the same time.
// It does not ask while probes fail. known says that the token was accepted before. The error
// is as that of ask, with an [*AskError] also if the request was not sent.
func (u *Upstream) askOnce(given string, of digest, known bool) (Token, error) {
	if reason := u.health.refuses(); reason != "" {
		return Token{}, &AskError{Unreachable, reason}
	}
	answer := <-u.flights.DoChan(string(of[:]), func() (any, error) {
		var token Token
		err := guard.Do(func() (err error) {
			token, err = u.askInTurn(given, of, known)
			return err
		})
		return token, err
	})
	return answer.Val.(Token), answer.Err
}

// askInTurn waits for a slot, asks about a token, and remembers the answer.
func (u *Upstream) askInTurn(given string, of digest, known bool) (Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	release, err := u.slot(ctx, known)
	if err != nil {
		return Token{}, &AskError{Unreachable, err.Error()}
	}
	defer release()
	token, err := u.request(ctx, given)
	switch _, failed := errors.AsType[*AskError](err); {
	case failed:
		u.health.failed(err)
		return Token{}, err
	case err != nil:
		u.answers.refuse(of, err, time.Now())
	default:
		u.answers.accept(of, token, time.Now())
	}
	u.health.answered()
	return token, err
}

// slot waits for a slot and returns how to give it back.
func (u *Upstream) slot(ctx context.Context, known bool) (release func(), err error) {
	slots := u.again
	if !known {
		slots = u.first
		defer u.waiting.Add(-1)
		if u.waiting.Add(1) > maxWaiting || u.firstRate.Wait(ctx) != nil {
			return nil, errBusy
		}
	}
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}

// request asks about a token and counts that.
func (u *Upstream) request(ctx context.Context, given string) (Token, error) {
	began := time.Now()
	token, err := u.ask(ctx, given)
	u.cfg.Asked(resultOf(err), time.Since(began))
	return token, err
}

// Answers about a token that was made up to probe an upstream. Tecken does not know it.
var (
	errAcceptsAny = &AskError{Invalid, "it accepts a token that was made up, so it would accept any"}
	errRefusesAny = &AskError{Invalid, "it refuses a token that was made up, but not as one that it does not know"}
)

// Probe asks about a token that cannot exist. The error is an [*AskError].
func (u *Upstream) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	began := time.Now()
	made := make([]byte, 16)
	rand.Read(made) // never fails
	_, err := u.ask(ctx, hex.EncodeToString(made))
	result := Probed
	switch {
	case errors.Is(err, ErrUnknown):
		err = nil
	case err == nil:
		err, result = errAcceptsAny, Invalid
	case errors.Is(err, ErrExpired), errors.Is(err, ErrForbidden):
		err, result = errRefusesAny, Invalid
	default:
		result = resultOf(err)
	}
	u.cfg.Asked(result, time.Since(began))
	return err
}
