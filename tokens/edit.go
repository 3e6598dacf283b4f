package tokens

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/google/renameio/v2"
)

// List returns the entries of a tokens file.
func List(path string) ([]Token, error) { return read(path) }

// Create makes a token and adds its entry to the tokens file, which is
// made if there is none. The token is in the answer only.
func Create(path, email string, permissions []string, expires time.Time, note string) (token string, err error) {
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
		Email: email, SHA256: Digest(token), Permissions: permissions,
		CreatedAt: now, ExpiresAt: expires.UTC().Truncate(time.Second), Note: note,
	}
	if err := validToken(entry); err != nil {
		return "", err
	}
	if err := validTexts(email, note); err != nil {
		return "", err
	}
	err = edit(path, func(tokens []Token) ([]Token, error) {
		entry.ID = userID(tokens, email)
		return append(tokens, entry), nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// maxNote bounds a token's note, in characters.
const maxNote = 200

// validTexts checks what a new entry has for people to read: they read it in a
// terminal. Entries that are there already may have anything.
func validTexts(email, note string) error {
	for _, text := range []struct{ what, value string }{{"email address", email}, {"note", note}} {
		if !utf8.ValidString(text.value) || strings.ContainsFunc(text.value, func(r rune) bool { return !strconv.IsPrint(r) }) {
			return fmt.Errorf("the %s %q has characters in it that cannot be printed", text.what, text.value)
		}
	}
	if n := utf8.RuneCountInString(note); n > maxNote {
		return fmt.Errorf("the note has %d characters: at most %d are kept", n, maxNote)
	}
	return nil
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

// Revoke removes the one entry whose digest begins with the given
// hexadecimal digits, and returns it.
func Revoke(path, prefix string) (Token, error) {
	var revoked Token
	err := edit(path, func(tokens []Token) ([]Token, error) {
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

// edit replaces a tokens file by what change makes of it. Edits of the same
// file, by any process and through any link, come one after the other; a reader
// sees the file before or after, never in between.
func edit(path string, change func([]Token) ([]Token, error)) error {
	path, folder, err := lockFile(path)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }() // gives the lock back
	tokens, err := read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if tokens, err = change(tokens); err != nil {
		return err
	}
	if tokens == nil {
		tokens = []Token{}
	}
	data, err := json.MarshalIndent(tokensFile{tokens}, "", "  ")
	if err != nil {
		return err
	}
	if len(data) >= maxTokensFile {
		return fmt.Errorf("tokens file %s with this token: %w: revoke tokens that nobody needs", path, errTokensTooLarge)
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return err
	}
	return folder.Sync()
}

// lockFile locks the file that path leads to against other edits. It returns the
// path of that file, none of it a link, and its folder. The lock is on the folder,
// because the file itself is replaced, and ends when the folder is closed.
func lockFile(path string) (target string, folder *os.File, err error) {
	for range maxLinks {
		if target, err = followLinks(path); err != nil {
			return "", nil, err
		}
		if folder, err = os.Open(filepath.Dir(target)); err != nil {
			return "", nil, err
		}
		if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
			return "", nil, errors.Join(fmt.Errorf("locking %s: %w", folder.Name(), err), folder.Close())
		}
		// Links may have been changed while we waited for the lock.
		now, err := followLinks(path)
		if err == nil && now == target {
			return target, folder, nil
		}
		if err = errors.Join(err, folder.Close()); err != nil {
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("the links of %s change all the time", path)
}

// maxLinks is how many links may follow one another, as in Linux.
const maxLinks = 40

// followLinks returns the path of the file that path leads to, none of it a link.
// The file need not exist, its folder must.
func followLinks(path string) (string, error) {
	for range maxLinks {
		// What a link says is not to be cleaned: a/../b need not be b.
		dir, name := filepath.Split(path)
		if dir == "" {
			dir = "."
		}
		if name == "" || name == "." || name == ".." {
			return "", fmt.Errorf("tokens file %s: %w", path, errNotRegular)
		}
		dir, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, name)
		link, err := os.Readlink(path)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, fs.ErrNotExist):
			return filepath.Abs(path)
		case err != nil:
			return "", err
		case filepath.IsAbs(link):
			path = link
		default:
			path = dir + string(filepath.Separator) + link
		}
	}
	return "", &os.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
}

// replaceFile replaces the content of a file atomically. An existing file keeps its owner and
// its group's permissions, so that a service that runs as another user can still read it.
// Only its owner can read a new file.
func replaceFile(path string, data []byte) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if old, err := os.Stat(path); err == nil {
		if owner, ok := old.Sys().(*syscall.Stat_t); ok {
			if owner.Nlink > 1 {
				return fmt.Errorf("%s has %d names (hard links): to replace one of them would leave the others as they are", path, owner.Nlink)
			}
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
	return f.CloseAtomicallyReplace()
}
