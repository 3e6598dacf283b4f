package tokens

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// tokensFile is the content of a tokens file.
type tokensFile struct {
	Tokens []Token `json:"tokens"`
}

// maxTokensFile is the largest tokens file, in bytes: some 15,000 tokens. The memory to
// read it is not part of --memory.
const maxTokensFile = 4 << 20

// errTokensTooLarge reports a tokens file that is larger than maxTokensFile.
var errTokensTooLarge = fmt.Errorf("it is larger than %d MiB", maxTokensFile>>20)

// errNotRegular reports a path that is not a regular file.
var errNotRegular = errors.New("it is not a regular file")

// read reads and checks a tokens file.
func read(path string) ([]Token, error) {
	data, err := readRegular(path)
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
		return nil, fmt.Errorf("tokens file %s: unexpected data after the end", path)
	}
	if err := checkTokens(file.Tokens); err != nil {
		return nil, fmt.Errorf("tokens file %s: %w", path, err)
	}
	return file.Tokens, nil
}

// readRegular reads the regular file that path leads to, following links. It refuses
// anything else, such as a FIFO, without waiting for it.
func readRegular(path string) (_ []byte, err error) {
	// Check before opening: to open a device may have side effects.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("tokens file %s: %w", path, errNotRegular)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Check again: it may have been replaced meanwhile.
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("tokens file %s: %w", path, errNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTokensFile+1))
	if err == nil && len(data) > maxTokensFile {
		err = fmt.Errorf("tokens file %s: %w", path, errTokensTooLarge)
	}
	return data, err
}

// checkTokens checks the entries of a tokens file.
func checkTokens(tokens []Token) error {
	digests := make(map[string]bool)
	for i, t := range tokens {
		digest := strings.ToLower(t.SHA256)
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
			return fmt.Errorf("entry %d: sha256 is not 64 hexadecimal digits", i+1)
		}
		if digests[digest] {
			return fmt.Errorf("entry %d: an earlier entry has the same sha256", i+1)
		}
		digests[digest] = true
		if err := checkToken(t); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return nil
}

func checkToken(t Token) error {
	switch {
	case !isEmail(t.Email):
		return fmt.Errorf("%q is not an email address", t.Email)
	case t.ExpiresAt.IsZero():
		return errors.New("it has no expires_at")
	}
	for _, p := range t.Permissions {
		if p != PermissionUpload && p != PermissionUploadTry {
			return fmt.Errorf("unknown permission %q: use %s or %s", p, PermissionUpload, PermissionUploadTry)
		}
	}
	return nil
}

// isEmail reports whether text looks like an email address.
func isEmail(text string) bool {
	return strings.Contains(text, "@") && !strings.ContainsFunc(text, unicode.IsControl)
}
