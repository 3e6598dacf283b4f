package e2e

import (
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// heldSmall is the size of archives that need no disk, in bytes.
const heldSmall = 10_000

// Archives that cannot be read forward are stored with the right content. Small ones need no
// disk.
func TestHeldArchives(t *testing.T) {
	t.Parallel()
	for _, quota := range []string{"0", "4GiB"} {
		t.Run("--spill-quota="+quota, func(t *testing.T) {
			t.Parallel()
			for i, l := range archive.SpillLayouts {
				t.Run(l.Name, func(t *testing.T) {
					t.Parallel()
					folder := t.TempDir()
					s := startBeside(t, "--spill-dir="+folder, "--spill-quota="+quota)
					s.wantHeld(t, l.Lay(archive.Mixed(uint64(10*i), heldSmall)))
					wantEmpty(t, s.PID(), folder)
				})
			}
		})
	}
}

// wantHeld uploads an archive and checks that the bucket holds exactly its entries.
func (s system) wantHeld(t *testing.T, a archive.Archive) {
	t.Helper()
	got, err := client.Send(client.Within(t), s.API, "dev", a.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != 201 || len(got.Upload.UploadedKeys) != len(a.Entries) {
		t.Fatalf("%+v, want %d files stored", got, len(a.Entries))
	}
	s.WantEntries(t, a.Entries)
	s.WantNoUploads(t)
}
