// Package tokens authenticates uploads with the tokens of a file, which keeps only
// their SHA-256 digests. It also has the commands that edit the file.
package tokens

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spillway/internal/account"

	"go.uber.org/zap"
)

// Permissions of a token.
const (
	PermissionUpload    = "upload_symbols"     // symbols, and try symbols
	PermissionUploadTry = "upload_try_symbols" // try symbols
)

// Reasons why a request may not upload.
var (
	ErrMissing   = errors.New("upload: no token")
	ErrUnknown   = errors.New("upload: unknown token")
	ErrExpired   = errors.New("upload: expired token")
	ErrForbidden = errors.New("upload: the token has no permission to upload")
)

// A Token is an entry of the tokens file. The token itself is stored nowhere.
type Token struct {
	ID          int       `json:"id"` // of the user; all tokens of a user share it
	Email       string    `json:"email"`
	SHA256      string    `json:"sha256"` // digest of the token, in hexadecimal
	Permissions []string  `json:"permissions"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	Note        string    `json:"note,omitempty"`
}

// may reports whether the token has a permission.
func (t Token) may(permission string) bool { return slices.Contains(t.Permissions, permission) }

// OnlyTry reports whether the token may upload try symbols only.
func (t Token) OnlyTry() bool { return !t.may(PermissionUpload) && t.may(PermissionUploadTry) }

// ExpiresSoon is how long before its expiry a token is said to expire soon.
const ExpiresSoon = 30 * 24 * time.Hour

// life is how far a token is from its expiry.
type life string

const (
	valid        life = "valid"
	expiringSoon life = "expires soon"
	expired      life = "expired"
)

func (t Token) lifeAt(now time.Time) life {
	switch {
	case !now.Before(t.ExpiresAt):
		return expired
	case !now.Add(ExpiresSoon).Before(t.ExpiresAt):
		return expiringSoon
	}
	return valid
}

// ShortDigest returns the first 8 digits of the token's SHA-256, as [ShortDigest] does.
func (t Token) ShortDigest() string { return strings.ToLower(t.SHA256[:shortDigest]) }

// usable returns nil if the token may upload at the given time, else [ErrExpired] or
// [ErrForbidden].
func (t Token) usable(now time.Time) error {
	switch {
	case t.lifeAt(now) == expired:
		return ErrExpired
	case !t.may(PermissionUpload) && !t.may(PermissionUploadTry):
		return ErrForbidden
	}
	return nil
}

// A Set holds the tokens in force. Its methods are safe for concurrent use.
type Set struct {
	path  string  // of the tokens file; empty: the entries never change
	fixed []Token // in force in addition to the file
	log   *zap.Logger
	read  func(path string) ([]Token, error) // the function read; tests replace it

	// AskUpstream sets it before the set is used; nil: tokens that are not in force are unknown.
	upstream *Upstream

	reload  chan struct{}                // holds a value if Reload was called
	entries atomic.Pointer[[]tokenEntry] // in force

	mu     sync.Mutex  // guards the fields below; never held while the file is read
	seen   os.FileInfo // of the file at the last check; nil if it did not exist
	failed error       // of the last check; errTokensHang while it hangs
	asOf   time.Time   // when the file last matched the tokens in force
}

type tokenEntry struct {
	Token
	digest digest
	used   *atomic.Int64 // when it last authenticated a request, in seconds since 1970; 0: never
}

// New returns a set that never changes. It fails if an entry is invalid.
func New(entries ...Token) (*Set, error) {
	t := &Set{log: zap.NewNop(), asOf: time.Now()}
	if err := t.set(entries); err != nil {
		return nil, err
	}
	return t, nil
}

// Dev returns the entries of the development tokens: dev for symbols, and devtry for
// try symbols only. Everybody knows them.
func Dev() []Token {
	now := time.Now().UTC()
	entry := func(id int, token, permission string) Token {
		return Token{
			ID: id, Email: token + "@example.com", SHA256: Digest(token), Permissions: []string{permission},
			CreatedAt: now, ExpiresAt: now.AddDate(1, 0, 0),
		}
	}
	return []Token{entry(1, "dev", PermissionUpload), entry(2, "devtry", PermissionUploadTry)}
}

// set puts tokens into force. Those that were in force before keep the time of their last
// use. It is not called concurrently.
func (t *Set) set(tokens []Token) error {
	if err := checkTokens(tokens); err != nil {
		return err
	}
	used := make(map[digest]*atomic.Int64)
	if before := t.entries.Load(); before != nil {
		for _, entry := range *before {
			used[entry.digest] = entry.used
		}
	}
	entries := make([]tokenEntry, len(tokens))
	for i, token := range tokens {
		entry := tokenEntry{Token: token}
		if _, err := hex.Decode(entry.digest[:], []byte(token.SHA256)); err != nil {
			return err
		}
		if entry.used = used[entry.digest]; entry.used == nil {
			entry.used = new(atomic.Int64)
		}
		entries[i] = entry
	}
	t.entries.Store(&entries)
	return nil
}

// Digest returns the SHA-256 of a token in hexadecimal.
func Digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// shortDigest is how many hexadecimal digits of a digest tell tokens apart in lists, in the
// log, in metrics and on the live page. They are enough to revoke a token.
const shortDigest = 8

// ShortDigest returns the first 8 hexadecimal digits of the SHA-256 of the token that a
// client sent, without its label; empty if it sent none. They say nothing about a random
// token.
func ShortDigest(given string) string {
	if given == "" {
		return ""
	}
	return Digest(withoutLabel(given))[:shortDigest]
}

// withoutLabel returns the token that a client sent, without the label behind its first
// hyphen.
func withoutLabel(given string) string {
	token, _, _ := strings.Cut(given, "-")
	return token
}

// AskUpstream makes the set ask another server about tokens that it does not have. Call it
// before anything else.
func (t *Set) AskUpstream(u *Upstream) { t.upstream = u }

// Authenticate returns the token of a request. Its error is [ErrMissing], [ErrUnknown],
// [ErrExpired] or [ErrForbidden]; with the last two it also returns the token, if the set has
// it. Its running time depends only on the number of tokens.
//
// With an [Upstream], it may wait for an answer for up to 10 s, which goes to a (it may be
// nil). Its error may then wrap [ErrUnchecked].
func (t *Set) Authenticate(r *http.Request, now time.Time, a *account.Account) (Token, error) {
	given := withoutLabel(r.Header.Get("Auth-Token"))
	if r.Header.Get("Auth-Token") == "" {
		return Token{}, ErrMissing
	}
	of := digest(sha256.Sum256([]byte(given)))
	entries := *t.entries.Load()
	found := -1
	for i := range entries {
		equal := subtle.ConstantTimeCompare(entries[i].digest[:], of[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	switch {
	case found < 0 && t.upstream != nil:
		return t.upstream.authenticate(given, a)
	case found < 0:
		return Token{}, ErrUnknown
	}
	entry := &entries[found]
	err := entry.usable(now)
	if err == nil {
		entry.used.Store(now.Unix())
	}
	return entry.Token, err
}

// Authorized reports whether a request has a token that may upload.
func (t *Set) Authorized(r *http.Request) bool {
	_, err := t.Authenticate(r, time.Now(), nil)
	return err == nil
}
