package upload

import (
	"context"
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
	"syscall"
	"time"

	"go.uber.org/zap"
)

// What a token may be used for.
const (
	PermissionUpload    = "upload_symbols"     // symbols, and try symbols
	PermissionUploadTry = "upload_try_symbols" // try symbols
)

// tokensPoll is how often the tokens file is looked at for changes.
const tokensPoll = time.Second

var (
	errNoToken      = errors.New("upload: no token")
	errUnknownToken = errors.New("upload: unknown token")
	errExpiredToken = errors.New("upload: expired token")
	errForbidden    = errors.New("upload: the token has no permission to upload")
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

// onlyTry reports whether all that is uploaded with the token is try symbols.
func (t Token) onlyTry() bool { return !t.may(PermissionUpload) && t.may(PermissionUploadTry) }

// Tokens knows who may upload.
type Tokens struct {
	path  string  // empty: the entries never change
	fixed []Token // there beside those of the file
	log   *zap.Logger

	reloading sync.Mutex  // guards what follows, up to the empty line
	seen      os.FileInfo // of the file when it was last read, nil if it was not there
	failed    error       // of that reading

	entries atomic.Pointer[[]tokenEntry]
}

type tokenEntry struct {
	Token
	digest [sha256.Size]byte
}

// NewTokens makes tokens that never change.
func NewTokens(entries ...Token) (*Tokens, error) {
	t := &Tokens{log: zap.NewNop()}
	if err := t.set(entries); err != nil {
		return nil, err
	}
	return t, nil
}

// DevTokens are the tokens dev, for symbols, and devtry, for try symbols only.
// Everybody knows them: they are for development.
func DevTokens() []Token {
	now := time.Now().UTC()
	entry := func(id int, token, permission string) Token {
		return Token{
			ID: id, Email: token + "@example.com", SHA256: tokenDigest(token), Permissions: []string{permission},
			CreatedAt: now, ExpiresAt: now.AddDate(1, 0, 0),
		}
	}
	return []Token{entry(1, "dev", PermissionUpload), entry(2, "devtry", PermissionUploadTry)}
}

// LoadTokens reads a tokens file; beside its entries there are always the fixed
// ones. Call [Tokens.Watch] to follow its changes.
func LoadTokens(path string, log *zap.Logger, fixed ...Token) (*Tokens, error) {
	t := &Tokens{path: path, fixed: fixed, log: log}
	if err := t.load(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the tokens file again. If it cannot be read or is not valid,
// the tokens stay as they are, and the error is logged as well.
func (t *Tokens) Reload() error {
	if t.path == "" {
		return nil
	}
	t.reloading.Lock()
	defer t.reloading.Unlock()
	err := t.load()
	t.tell(err)
	return err
}

// Watch reloads the tokens file whenever it has changed, until ctx ends. One that
// cannot be read or is not valid it tries again: what is in its way may go away
// without a change that shows.
func (t *Tokens) Watch(ctx context.Context) {
	ticker := time.NewTicker(tokensPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.follow()
		}
	}
}

// follow is one look at the file. The same failure is logged once.
func (t *Tokens) follow() {
	if t.path == "" {
		return
	}
	t.reloading.Lock()
	defer t.reloading.Unlock()
	before, failed := t.seen, t.failed
	now, _ := os.Stat(t.path)
	if failed == nil && sameFile(now, before) {
		return
	}
	if err := t.load(); err == nil || !sameFile(t.seen, before) || !sameFailure(err, failed) {
		t.tell(err)
	}
}

// load reads the file. The caller holds t.reloading.
func (t *Tokens) load() error {
	// Looked at before it is read: what changes in between is read again.
	t.seen, _ = os.Stat(t.path)
	entries, err := readTokens(t.path)
	if err == nil {
		err = t.set(slices.Concat(t.fixed, entries))
	}
	t.failed = err
	return err
}

// tell logs what came of reading the file.
func (t *Tokens) tell(err error) {
	if err != nil {
		t.log.Error("tokens file not usable, the last good one stays in force", zap.String("path", t.path), zap.Error(err))
		return
	}
	t.log.Info("tokens file loaded", zap.String("path", t.path), zap.Int("tokens", len(*t.entries.Load())))
}

// sameFile reports whether a file is what it was; nil is one that is not there.
func sameFile(now, before os.FileInfo) bool {
	if now == nil || before == nil {
		return now == before
	}
	return os.SameFile(now, before) && now.ModTime().Equal(before.ModTime()) && now.Size() == before.Size()
}

// sameFailure reports whether two failures with the same file are one: the
// system's are told apart by its number, and all that is wrong with a file's
// content comes of the content.
func sameFailure(a, b error) bool {
	first, system := errors.AsType[syscall.Errno](a)
	second, systemToo := errors.AsType[syscall.Errno](b)
	return (a == nil) == (b == nil) && system == systemToo && first == second
}

func (t *Tokens) set(tokens []Token) error {
	if err := validTokens(tokens); err != nil {
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

// tokenDigest is the SHA-256 of a token in hexadecimal.
func tokenDigest(token string) string {
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:])
}

// authenticate finds the token of a request. How long it takes says nothing
// of the tokens there are but their number.
func (t *Tokens) authenticate(r *http.Request, now time.Time) (Token, error) {
	given := r.Header.Get("Auth-Token")
	if given == "" {
		return Token{}, errNoToken
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
		return Token{}, errUnknownToken
	}
	token := entries[found].Token
	switch {
	case !now.Before(token.ExpiresAt):
		return token, errExpiredToken
	case !token.may(PermissionUpload) && !token.may(PermissionUploadTry):
		return token, errForbidden
	}
	return token, nil
}

// Authorized reports whether a request has a token that may upload anything.
func (t *Tokens) Authorized(r *http.Request) bool {
	_, err := t.authenticate(r, time.Now())
	return err == nil
}
