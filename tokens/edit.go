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
)

// List returns the entries of a tokens file.
func List(path string) ([]Token, error) { return read(path) }

// Create creates a token and adds its entry to the tokens file, which it creates if
// necessary. It returns the token, which is stored nowhere.
func Create(path, email string, permissions []string, expires time.Time, note string) (token string, err error) {
	now := time.Now().UTC().Truncate(time.Second)
	if len(permissions) == 0 {
		return "", fmt.Errorf("the token needs %s or %s", PermissionUpload, PermissionUploadTry)
	}
	if !expires.After(now) {
		return "", errors.New("the token must expire in the future")
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails
	token = hex.EncodeToString(random)
	entry := Token{
		Email: email, SHA256: Digest(token), Permissions: permissions,
		CreatedAt: now, ExpiresAt: expires.UTC().Truncate(time.Second), Note: note,
	}
	if err := checkToken(entry); err != nil {
		return "", err
	}
	if err := checkTexts(email, note); err != nil {
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

// maxNote is the longest note of a token, in characters.
const maxNote = 200

// checkTexts checks the texts of a new entry, which people read in a terminal.
// Existing entries may have any text.
func checkTexts(email, note string) error {
	for _, text := range []struct{ what, value string }{{"email address", email}, {"note", note}} {
		if !utf8.ValidString(text.value) || strings.ContainsFunc(text.value, func(r rune) bool { return !strconv.IsPrint(r) }) {
			return fmt.Errorf("the %s %q contains unprintable characters", text.what, text.value)
		}
	}
	if n := utf8.RuneCountInString(note); n > maxNote {
		return fmt.Errorf("the note has %d characters, more than the %d allowed", n, maxNote)
	}
	return nil
}

// userID returns the ID of the user with that email address, or a new one.
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

// Revoke removes the one entry whose digest starts with the given hexadecimal digits,
// and returns it.
func Revoke(path, prefix string) (Token, error) {
	var revoked Token
	err := edit(path, func(tokens []Token) ([]Token, error) {
		matches := func(t Token) bool {
			return prefix != "" && strings.HasPrefix(strings.ToLower(t.SHA256), strings.ToLower(prefix))
		}
		i := slices.IndexFunc(tokens, matches)
		if i < 0 {
			// The message does not show prefix: it may be a token.
			return nil, errors.New("no token has a digest with this prefix: see spillway token list")
		}
		revoked = tokens[i]
		tokens = slices.Delete(tokens, i, i+1)
		if slices.ContainsFunc(tokens, matches) {
			return nil, errors.New("several tokens have a digest with this prefix: give more digits")
		}
		return tokens, nil
	})
	if err != nil {
		return Token{}, err
	}
	return revoked, nil
}

// edit replaces the entries of a tokens file with those that change returns. Edits of
// one file are serialized, across processes and links. A reader sees the file before or
// after an edit, never in between.
func edit(path string, change func([]Token) ([]Token, error)) error {
	path, folder, err := lockFile(path)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }() // unlocks
	removeLeftovers(path)
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
		return fmt.Errorf("tokens file %s with this token: %w: revoke unused tokens", path, errTokensTooLarge)
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return err
	}
	return folder.Sync()
}

// lockFile locks the file that path leads to against other edits. It returns that
// file's path without links, and its folder. The lock is on the folder, because an edit
// replaces the file. Closing the folder unlocks it.
func lockFile(path string) (target string, folder *os.File, err error) {
	for range maxLinks {
		if target, err = followLinks(path); err != nil {
			return "", nil, err
		}
		if folder, err = os.Open(filepath.Dir(target)); err != nil {
			return "", nil, err
		}
		if err := lock(folder); err != nil {
			return "", nil, errors.Join(fmt.Errorf("locking %s: %w", folder.Name(), err), folder.Close())
		}
		// Links may have changed while we waited for the lock.
		now, err := followLinks(path)
		if err == nil && now == target {
			return target, folder, nil
		}
		if err = errors.Join(err, folder.Close()); err != nil {
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("the links of %s keep changing", path)
}

// maxLinks is the longest chain of links, as in Linux.
const maxLinks = 40

// followLinks returns the path, without links, of the file that path leads to. The
// folder must exist, the file need not.
func followLinks(path string) (string, error) {
	for range maxLinks {
		// Do not clean the target of a link: if a is a link, a/../b need not be b.
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
