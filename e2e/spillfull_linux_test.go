package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/tmpfs"
)

// On a full disk, uploads that need it are refused with a 503. Once there is room, they are
// stored. Where no tmpfs can be mounted, only TestDiskThatFails tests this.
func TestDiskThatIsFull(t *testing.T) {
	t.Parallel()
	disk, err := tmpfs.Mount(16 << 20)
	if err != nil {
		t.Logf("only with a disk that says it is full: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	s := startBeside(t, "--spill-dir="+disk.Path, "--spill-min-free=0")
	wantUnused := func(what string) {
		t.Helper()
		if n, err := disk.Used(); err != nil || n != 0 {
			t.Errorf("%s: %d bytes are in use, error %v", what, n, err)
		}
	}
	s.wantRefused(t, archive.NeedsDisk(1, 30<<20).Bytes(), http.StatusServiceUnavailable)
	wantUnused("after an archive that is larger than the disk")

	a := archive.NeedsDisk(11, 6<<20)
	for _, free := range []int64{0, 3 << 20} {
		empty, err := disk.Fill(free)
		if err != nil {
			t.Fatal(err)
		}
		s.wantRefused(t, a.Bytes(), http.StatusServiceUnavailable)
		if err := empty(); err != nil {
			t.Fatal(err)
		}
		wantUnused(fmt.Sprintf("after %d bytes were free", free))
	}
	s.wantOrdinary(t)
	got, err := client.Send(client.Within(t), s.API, "dev", a.Reader())
	if err != nil || got.Status != http.StatusCreated {
		t.Fatalf("with room again: %+v, error %v", got, err)
	}
	for _, e := range a.Entries {
		s.WantEntry(t, e)
	}
	wantUnused("with room again")
}
