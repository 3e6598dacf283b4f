// Package tokens knows who may upload: a file of tokens, of which only the SHA-256
// is kept, and the commands that edit it.
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

// What a token may be used for.
const (
	PermissionUpload    = "upload_symbols"     // symbols, and try symbols
	PermissionUploadTry = "upload_try_symbols" // try symbols
)

// Why a request may not upload.
var (
	ErrMissing   = errors.New("upload: no token")
	ErrUnknown   = errors.New("upload: unknown token")
	ErrExpired   = errors.New("upload: expired token")
	ErrForbidden = errors.New("upload: the token has no permission to upload")
)

// A Token is an entry of the tokens file. The token itself is in no file.
type Token struct {
	ID          int       `json:"id"` // of the user, whose tokens have it in common
	Email       string    `json:"email"`
	SHA256      string    `json:"sha256"` // of the token, in hexadecimal
	Permissions []string  `json:"permissions"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	Note        string    `json:"note,omitempty"`
}

// may reports whether the token has a permission.
func (t Token) may(permission string) bool { return slices.Contains(t.Permissions, permission) }

// OnlyTry reports whether all that is uploaded with the token is try symbols.
func (t Token) OnlyTry() bool { return !t.may(PermissionUpload) && t.may(PermissionUploadTry) }

// usable returns why nothing can be uploaded with the token at a time; nil if
// something can.
func (t Token) usable(now time.Time) error {
	switch {
	case !now.Before(t.ExpiresAt):
		return ErrExpired
	case !t.may(PermissionUpload) && !t.may(PermissionUploadTry):
		return ErrForbidden
	}
	return nil
}

// A Set is the tokens in force. Its methods may be called from several goroutines at once.
type Set struct {
	path  string  // empty: the entries never change
	fixed []Token // there beside those of the file
	log   *zap.Logger
	read  func(path string) ([]Token, error) // the function read, but in tests

	reload  chan struct{}                // has a value when the file is to be read again
	entries atomic.Pointer[[]tokenEntry] // in force

	mu     sync.Mutex  // guards what follows; never held while the file is read
	seen   os.FileInfo // of the file when it was last read, nil if it was not there
	failed error       // of that reading, or errTokensHang
	asOf   time.Time   // when the file last was what is in force
}

type tokenEntry struct {
	Token
	digest [sha256.Size]byte
}

// New returns a set that never changes. It fails if an entry is not valid.
func New(entries ...Token) (*Set, error) {
	t := &Set{log: zap.NewNop(), asOf: time.Now()}
	if err := t.set(entries); err != nil {
		return nil, err
	}
	return t, nil
}

// Dev returns the tokens dev, for symbols, and devtry, for try symbols only.
// Everybody knows them: they are for development.
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

// Authenticate finds the token of a request. Its error is [ErrMissing], [ErrUnknown],
// [ErrExpired] or [ErrForbidden]; with the last two, it returns the token as well.
// The time it takes tells nothing about the tokens but their number.
func (t *Set) Authenticate(r *http.Request, now time.Time) (Token, error) {
	given := r.Header.Get("Auth-Token")
	if given == "" {
		return Token{}, ErrMissing
	}
	given, _, _ = strings.Cut(given, "-") // the rest is a label
	digest := sha256.Sum256([]byte(given))
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

// Authorized reports whether a request has a token that may upload anything.
func (t *Set) Authorized(r *http.Request) bool {
	_, err := t.Authenticate(r, time.Now())
	return err == nil
}
