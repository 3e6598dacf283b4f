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

// usable returns nil if the token may upload at the given time, else [ErrExpired] or
// [ErrForbidden].
func (t Token) usable(now time.Time) error {
	switch {
	case !now.Before(t.ExpiresAt):
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

	reload  chan struct{}                // holds a value if Reload was called
	entries atomic.Pointer[[]tokenEntry] // in force

	mu     sync.Mutex  // guards the fields below; never held while the file is read
	seen   os.FileInfo // of the file at the last check; nil if it did not exist
	failed error       // of the last check; errTokensHang while it hangs
	asOf   time.Time   // when the file last matched the tokens in force
}

type tokenEntry struct {
	Token
	digest [sha256.Size]byte
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

func (t *Set) set(tokens []Token) error {
	if err := valid(tokens); err != nil {
		return err
	}
	entries := make([]tokenEntry, len(tokens))
	for i, token := range tokens {
		entries[i].Token = token
		if _, err := hex.Decode(entries[i].digest[:], []byte(token.SHA256)); err != nil {
			return err
		}
	}
	t.entries.Store(&entries)
	return nil
}

// Digest returns the SHA-256 of a token in hexadecimal.
func Digest(token string) string {
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:])
}

// shortDigest is how many hexadecimal digits of a digest tell tokens apart in the log and
// on the live page.
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

// Authenticate returns the token of a request. Its error is [ErrMissing], [ErrUnknown],
// [ErrExpired] or [ErrForbidden]; with the last two it also returns the token. Its
// running time depends only on the number of tokens.
func (t *Set) Authenticate(r *http.Request, now time.Time) (Token, error) {
	given := r.Header.Get("Auth-Token")
	if given == "" {
		return Token{}, ErrMissing
	}
	digest := sha256.Sum256([]byte(withoutLabel(given)))
	entries := *t.entries.Load()
	found := -1
	for i := range entries {
		equal := subtle.ConstantTimeCompare(entries[i].digest[:], digest[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return Token{}, ErrUnknown
	}
	token := entries[found].Token
	return token, token.usable(now)
}

// Authorized reports whether a request has a token that may upload.
func (t *Set) Authorized(r *http.Request) bool {
	_, err := t.Authenticate(r, time.Now())
	return err == nil
}
