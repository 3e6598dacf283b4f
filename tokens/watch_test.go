//go:build unix

package tokens

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestWatchFollowsTheFile(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder, "tokens.json")
		first, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.ErrorLevel)
		tokens, err := Load(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go tokens.Watch(ctx)
		wait := func() {
			time.Sleep(2 * tokensPoll)
			synctest.Wait()
		}
		known := func(token string) bool {
			_, err := authenticate(tokens, token, time.Now())
			return err == nil
		}

		second, err := Create(path, "b@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		if wait(); !known(first) || !known(second) {
			t.Error("a new entry is not in force")
		}
		good, _ := os.ReadFile(path)
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if wait(); !known(first) || !known(second) {
			t.Error("an invalid file revokes all tokens")
		}
		if wait(); logs.Len() != 1 {
			t.Errorf("%d errors logged for one invalid file, want 1", logs.Len())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if wait(); !known(first) || logs.Len() != 2 {
			t.Errorf("missing file: known %t, %d errors logged, want true, 2", known(first), logs.Len())
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Revoke(path, Digest(first)); err != nil {
			t.Fatal(err)
		}
		if wait(); known(first) || !known(second) {
			t.Error("the revoked token works, or the other one does not")
		}
	})
}

// Watch reads a file that could not be used as soon as it can be, even if neither its
// time nor its size has changed. It logs each failure once, however long it lasts.
func TestWatchTriesAgain(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder, "tokens.json")
		token, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		write := func(content string) {
			t.Helper()
			if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, written, written)); err != nil {
				t.Fatal(err)
			}
		}
		write(string(good))
		core, logs := observer.New(zapcore.InfoLevel)
		tokens, err := Load(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		go tokens.Watch(t.Context())
		// expect checks what Watch logged since the last call.
		expect := func(what string, failures, loads int) {
			t.Helper()
			time.Sleep(10 * tokensPoll)
			synctest.Wait()
			events := logs.TakeAll()
			counts := map[zapcore.Level]int{}
			for _, e := range events {
				counts[e.Level]++
			}
			if counts[zapcore.ErrorLevel] != failures || counts[zapcore.InfoLevel] != loads {
				t.Errorf("%s: %d failures and %d loads logged, want %d and %d", what, counts[zapcore.ErrorLevel], counts[zapcore.InfoLevel], failures, loads)
			}
			if _, err := authenticate(tokens, token, time.Now()); err != nil {
				t.Errorf("%s: the token in force: %v", what, err)
			}
		}

		expect("no change", 0, 0)
		write(string(good[:len(good)/2]))
		expect("half-written", 1, 0)
		write(strings.Replace(string(good), "{", "(", 1))
		expect("complete but invalid", 1, 0)
		write(string(good))
		expect("valid, with the same time and size", 0, 1)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expect("removed", 1, 0)
		if err := os.Symlink("tokens.json", path); err != nil {
			t.Fatal(err)
		}
		expect("a loop of links: another failure", 1, 0)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		write(string(good))
		expect("restored", 0, 1)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		expect("a folder", 1, 0)
		for range 3 {
			tokens.Reload()
			synctest.Wait()
		}
		expect("three reloads", 3, 0)
	})
}

// Watch logs a check that hangs once, and starts no other one, not even on Reload. The
// tokens in force stay. When the check ends, its result applies.
func TestWatchFileThatHangs(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder, "tokens.json")
		token, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.InfoLevel)
		tokens, err := Load(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		var reads atomic.Int64
		hang := make(chan struct{})
		tokens.read = func(path string) ([]Token, error) {
			reads.Add(1)
			<-hang
			return read(path)
		}
		ctx, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { tokens.Watch(ctx) })
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		wait(time.Minute)
		if s := tokens.Status(); s.Err != nil || time.Since(s.AsOf) > tokensPoll || s.Usable != 1 {
			t.Errorf("before it hangs: %+v", s)
		}

		if _, err := Create(path, "b@example.com", []string{PermissionUpload}, soon(), ""); err != nil {
			t.Fatal(err)
		}
		hangs := time.Now()
		wait(tokensPoll + tokensTimeout)
		if s := tokens.Status(); !errors.Is(s.Err, errTokensHang) || s.Reason == "" || s.AsOf.After(hangs) || s.Usable != 1 {
			t.Errorf("while it hangs: %+v", s)
		}
		wait(time.Minute)
		for range 3 {
			tokens.Reload()
			wait(0)
		}
		if n := logs.FilterMessageSnippet("cannot be used").Len(); n != 1+3 {
			t.Errorf("%d failures are logged, want one, and one for each of 3 reloads", n)
		}
		if _, err := authenticate(tokens, token, time.Now()); err != nil {
			t.Errorf("the token in force: %v", err)
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("%d reads are under way, want 1", n)
		}

		close(hang)
		wait(0)
		if s := tokens.Status(); s.Err != nil || s.Usable != 2 {
			t.Errorf("after it hung: %+v", s)
		}
		hang = make(chan struct{})
		tokens.Reload()
		wait(tokensTimeout)
		stop()
		watching.Wait() // although the check hangs
		close(hang)
	})
}
