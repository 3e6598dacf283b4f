package upload

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// tokensFile is what a tokens file has in it.
type tokensFile struct {
	Tokens []Token `json:"tokens"`
}

// readTokens reads a tokens file and checks it.
func readTokens(path string) ([]Token, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file tokensFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("tokens file %s: %w", path, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("tokens file %s: something follows its end", path)
	}
	if err := validTokens(file.Tokens); err != nil {
		return nil, fmt.Errorf("tokens file %s: %w", path, err)
	}
	return file.Tokens, nil
}

// validTokens checks entries for what would let nobody, or the wrong one, in.
func validTokens(tokens []Token) error {
	digests := make(map[string]bool)
	for i, t := range tokens {
		digest := strings.ToLower(t.SHA256)
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
			return fmt.Errorf("entry %d: sha256 is not 64 hexadecimal digits", i+1)
		}
		if digests[digest] {
			return fmt.Errorf("entry %d: its token has an entry already", i+1)
		}
		digests[digest] = true
		if err := validToken(t); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return nil
}

func validToken(t Token) error {
	switch {
	case !strings.Contains(t.Email, "@") || strings.ContainsFunc(t.Email, unicode.IsControl):
		return fmt.Errorf("%q is no email address", t.Email)
	case t.ExpiresAt.IsZero():
		return errors.New("it has no expires_at")
	}
	for _, p := range t.Permissions {
		if p != PermissionUpload && p != PermissionUploadTry {
			return fmt.Errorf("unknown permission %q: there are %s and %s", p, PermissionUpload, PermissionUploadTry)
		}
	}
	return nil
}

// ListTokens returns the entries of a tokens file.
func ListTokens(path string) ([]Token, error) { return readTokens(path) }

// CreateToken makes a token and adds its entry to the tokens file, which is
// made if there is none. The token is in the answer only.
func CreateToken(path, email string, permissions []string, expires time.Time, note string) (token string, err error) {
	now := time.Now().UTC().Truncate(time.Second)
	if len(permissions) == 0 {
		return "", fmt.Errorf("a token needs %s or %s", PermissionUpload, PermissionUploadTry)
	}
	if !expires.After(now) {
		return "", errors.New("a token has to expire in the future")
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails
	token = hex.EncodeToString(random)
	entry := Token{
		Email: email, SHA256: tokenDigest(token), Permissions: permissions,
		CreatedAt: now, ExpiresAt: expires.UTC().Truncate(time.Second), Note: note,
	}
	if err := validToken(entry); err != nil {
		return "", err
	}
	err = editTokens(path, func(tokens []Token) ([]Token, error) {
		entry.ID = userID(tokens, email)
		return append(tokens, entry), nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// userID is the id of the user with that email address, or one for a new user.
func userID(tokens []Token, email string) int {
	last := 0
	for _, t := range tokens {
		if strings.EqualFold(t.Email, email) {
			return t.ID
		}
		last = max(last, t.ID)
	}
	return last + 1
}

// RevokeToken removes the one entry whose digest begins with the given
// hexadecimal digits, and returns it.
func RevokeToken(path, prefix string) (Token, error) {
	var revoked Token
	err := editTokens(path, func(tokens []Token) ([]Token, error) {
		isMeant := func(t Token) bool {
			return prefix != "" && strings.HasPrefix(strings.ToLower(t.SHA256), strings.ToLower(prefix))
		}
		i := slices.IndexFunc(tokens, isMeant)
		if i < 0 {
			// What was given may be the token itself.
			return nil, errors.New("no token has a digest that begins with what was given: see spillway token list")
		}
		revoked = tokens[i]
		tokens = slices.Delete(tokens, i, i+1)
		if slices.ContainsFunc(tokens, isMeant) {
			return nil, errors.New("several tokens have a digest that begins with what was given: give more of it")
		}
		return tokens, nil
	})
	if err != nil {
		return Token{}, err
	}
	return revoked, nil
}

// editTokens replaces a tokens file by what edit makes of it. Edits of the
// same file, by any process, come one after the other; a reader sees the file
// before or after, never in between.
func editTokens(path string, edit func([]Token) ([]Token, error)) error {
	// The file itself is replaced: the lock is on its folder.
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }() // gives the lock back
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", folder.Name(), err)
	}
	tokens, err := readTokens(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if tokens, err = edit(tokens); err != nil {
		return err
	}
	if tokens == nil {
		tokens = []Token{}
	}
	data, err := json.MarshalIndent(tokensFile{tokens}, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return err
	}
	return folder.Sync()
}

// replaceFile gives a file new content in one step. A file that was there
// keeps its owner and what its group may do, so that a service that runs as
// another user goes on reading it; a new one is its owner's alone.
func replaceFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if old, err := os.Stat(path); err == nil {
		if owner, ok := old.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return fmt.Errorf("keeping the owner of %s: %w", path, err)
			}
		}
		if err := f.Chmod(old.Mode().Perm()&0o660 | 0o600); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}
