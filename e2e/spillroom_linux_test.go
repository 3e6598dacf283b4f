package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// ways are the two in which clients send an archive: with and without a Content-Length.
var ways = []struct {
	name string
	send func(ctx context.Context, api, token string, zip []byte) (client.Answer, error)
}{
	{"with its length", client.SendWhole},
	{"in chunks", func(ctx context.Context, api, token string, zip []byte) (client.Answer, error) {
		return client.Send(ctx, api, token, bytes.NewReader(zip))
	}},
}

// wantRefused sends an archive in both ways. It checks the answer, and that nothing is left.
func (s system) wantRefused(t *testing.T, zip []byte, status int, says ...string) {
	t.Helper()
	for _, way := range ways {
		a, err := way.send(client.Within(t), s.API, "dev", zip)
		if err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		if a.Status != status || (a.RetryAfter != "") != (status == http.StatusServiceUnavailable) {
			t.Errorf("%s: %+v, want %d", way.name, a, status)
		}
		for _, words := range says {
			if !strings.Contains(a.Error, words) {
				t.Errorf("%s: the answer %q does not say %q", way.name, a.Error, words)
			}
		}
	}
	s.WantNothing(t)
}

// wantOrdinary checks that an archive that can be read forward is stored.
func (s system) wantOrdinary(t *testing.T) {
	t.Helper()
	files := archive.Samples(1)
	if a := client.MustSend(t, s.API, "dev", archive.PythonZipfile(files...)); a.Status != http.StatusCreated {
		t.Errorf("an ordinary upload: %+v", a)
	}
	s.WantStored(t, "v1/", files)
}

// If a retry can never help, the answer is a 413 that names the setting and its value.
func TestArchiveThatNeverFits(t *testing.T) {
	t.Parallel()
	zip := archive.NeedsDisk(1, 20<<20).Bytes()
	for _, c := range []struct {
		args string
		says []string
	}{
		{"--spill-quota=0", []string{"--spill-quota", "which is 0"}},
		{"--spill-quota=8MiB", []string{"--spill-quota", "8.0 MiB (8388608 bytes)"}},
		{"--spill-upload-quota=8MiB", []string{"--spill-upload-quota", "8.0 MiB (8388608 bytes)"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			s := startBeside(t, c.args, "--spill-dir="+folder, "--spill-min-free=0")
			s.wantRefused(t, zip, http.StatusRequestEntityTooLarge, c.says...)
			wantEmpty(t, s.PID(), folder)
			s.wantOrdinary(t)
		})
	}
}

// If other uploads hold the room, the answer is a 503 that says so. A retry succeeds when they
// are done.
func TestRoomThatOthersHold(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := startBeside(t, "--spill-dir="+folder, "--spill-quota=24MiB", "--spill-min-free=0", "--room-wait=300ms", "--memory=256MiB")
	first := archive.NeedsDisk(1, 20<<20)
	zip := first.Bytes()
	u := client.SendHalfAndWait(t, s.API, zip)
	awaitDisk(t, s.PID(), folder, int64(len(zip)/3))

	second := archive.NeedsDisk(11, 18<<20)
	s.wantRefused(t, second.Bytes(), http.StatusServiceUnavailable, "--spill-quota", "24 MiB (25165824 bytes)", "in use", "again later is safe")

	close(u.Rest)
	if a := u.Wait(t); a.Status != http.StatusCreated {
		t.Errorf("the upload that was there first: %+v", a)
	}
	s.WantEntries(t, first.Entries)
	wantEmpty(t, s.PID(), folder)
	a, err := client.SendWhole(client.Within(t), s.API, "dev", second.Bytes())
	if err != nil || a.Status != http.StatusCreated {
		t.Errorf("the retry: %+v, error %v", a, err)
	}
	s.WantEntries(t, append(first.Entries, second.Entries...))
	wantEmpty(t, s.PID(), folder)
}

// Spilling leaves --spill-min-free free.
func TestFreeSpaceIsKept(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := startBeside(t, "--spill-dir="+folder, "--spill-min-free=1PiB")
	s.wantRefused(t, archive.NeedsDisk(1, 2<<20).Bytes(), http.StatusServiceUnavailable, "--spill-min-free", "1.0 PiB (1125899906842624 bytes)")
	wantEmpty(t, s.PID(), folder)
	s.wantOrdinary(t)
}

// awaitDisk waits until a process has that many bytes on disk.
func awaitDisk(t *testing.T, pid int, folder string, want int64) {
	t.Helper()
	client.Until(t, fmt.Sprintf("%d bytes are on disk", want), func() bool {
		n, err := onDisk(pid, folder)
		if err != nil {
			t.Fatal(err)
		}
		return n >= want
	})
}
