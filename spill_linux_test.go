package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// residentSpilling is what the process may have resident, with --memory 32MiB.
const residentSpilling = 110 << 20

// heldEntries are the entries of an archive of some size that holds a large file
// and two of symbols. Their names differ by seed.
func heldEntries(seed uint64, size int) []archive.Entry {
	name := func(i uint64) string { return archive.SymbolsName(seed*10 + i) }
	return []archive.Entry{
		{Name: strings.TrimSuffix(name(1), ".sym") + ".dbg", Data: archive.Noise(seed, size*9/10)},
		{Name: name(2), Data: archive.Symbols(seed+1, max(size/40, 100)), Method: archive.Deflate},
		{Name: name(3), Data: archive.Symbols(seed+2, max(size/40, 100))},
	}
}

// heldArchives are the kinds of archives that cannot be read forward.
var heldArchives = map[string]func(entries []archive.Entry) []byte{
	"stored with a descriptor": func(entries []archive.Entry) []byte {
		entries[0].Descriptor = archive.Signed32
		return archive.Build(entries...)
	},
	"bytes before the first entry": func(entries []archive.Entry) []byte {
		return archive.Archive{Prefix: []byte("#!/bin/sh\n"), Entries: entries}.Bytes()
	},
	"gaps between entries": func(entries []archive.Entry) []byte {
		entries[0].Gap, entries[1].Gap = []byte("a gap"), []byte("another")
		return archive.Archive{Prefix: []byte("#"), Shifted: true, Entries: entries}.Bytes()
	},
}

// wantEntries checks that the store has the entries byte for byte.
func (s system) wantEntries(t *testing.T, entries []archive.Entry) {
	t.Helper()
	for _, e := range entries {
		got, ok := s.s3.Object(t, s.bucket, "v1/"+e.Name)
		if !ok {
			t.Errorf("%s is not stored", e.Name)
			continue
		}
		content := got.Body
		if strings.HasSuffix(e.Name, ".sym") {
			content = gunzip(t, got.Body)
		}
		if !bytes.Equal(content, e.Data) {
			t.Errorf("%s: %d bytes are stored that are not its %d bytes", e.Name, len(content), len(e.Data))
		}
	}
}

// spilled is how much disk the files take that a process has open in a folder.
func spilled(t *testing.T, pid int, folder string) (bytes int64) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Error(err)
	}
	for _, f := range files {
		var s unix.Stat_t
		// It may have been closed meanwhile.
		if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, folder) && unix.Stat(f, &s) == nil {
			bytes += s.Blocks * 512
		}
	}
	return bytes
}

// sample returns the most disk that a process took until stop, as seen again
// and again.
func sample(t *testing.T, pid int, folder string, stop <-chan struct{}) (most int64) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			most = max(most, spilled(t, pid, folder))
		case <-stop:
			return most
		}
	}
}

// wantNothingSpilled checks the spill folder and the process once it is idle.
func wantNothingSpilled(t *testing.T, d *daemon.Daemon, folder string) {
	t.Helper()
	if n := spilled(t, d.PID(), folder); n > 0 {
		t.Errorf("%d bytes are left on disk", n)
	}
	if names, err := os.ReadDir(folder); len(names) > 0 || err != nil {
		t.Errorf("the spill folder has %v: %v", names, err)
	}
}

// TestHeldArchives uploads each kind, small and large, with little memory.
func TestHeldArchives(t *testing.T) {
	folder := filepath.Join(built, "spill-plain")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	binary, err := daemon.Build(t.Context(), folder) // the race detector would multiply the memory that is measured
	if err != nil {
		t.Fatal(err)
	}
	server := s3server.Start(t)
	spill := t.TempDir()
	const quota = 320 << 20
	bucket := server.Bucket(t)
	s := system{startBinary(t, binary, credentialsOf(server), "--dev", "--log-format=json", "--memory=32MiB",
		"--s3-endpoint="+server.Endpoint, "--s3-bucket="+bucket, "--max-expanded-size=40GiB",
		"--spill-dir="+spill, fmt.Sprintf("--spill-quota=%d", quota), "--spill-min-free=0"), server.Client, bucket}
	seed := uint64(0)
	for kind, build := range heldArchives {
		for _, size := range []int{10_000, 300_000_000} {
			t.Run(fmt.Sprintf("%s, %d bytes", kind, size), func(t *testing.T) {
				seed++
				entries := heldEntries(seed, size)
				data := build(entries)
				stop := make(chan struct{})
				sampled := make(chan int64)
				go func() { sampled <- sample(t, s.PID(), spill, stop) }()
				a, err := send(within(t), s.API, "dev", bytes.NewReader(data))
				close(stop)
				most := <-sampled
				if err != nil || a.status != http.StatusCreated {
					t.Fatalf("%+v, error %v", a, err)
				}
				if most > quota || size > 1<<20 && most < int64(size)/2 {
					t.Errorf("%d bytes of disk were in use, with a quota of %d", most, quota)
				}
				s.wantEntries(t, entries)
				wantNothingSpilled(t, s.Daemon, spill)
				if uploads := s.s3.Uploads(t, s.bucket); len(uploads) > 0 {
					t.Errorf("unfinished uploads: %v", uploads)
				}
				t.Logf("%d MiB of disk were in use at the most, %d MiB are resident", most>>20, resident(t, s.PID())>>20)
			})
		}
	}
	if peak := resident(t, s.PID()); peak > residentSpilling {
		t.Errorf("%d MiB were resident at the most, want at most %d", peak>>20, residentSpilling>>20)
	}
}

// TestSpillQuotas has archives for which there is no room, and ordinary ones
// that go on.
func TestSpillQuotas(t *testing.T) {
	for name, args := range map[string][]string{
		"--spill-quota":        {"--spill-quota=0", "--spill-dir=/nowhere"},
		"--spill-quota,":       {"--spill-quota=1MiB"},
		"--spill-upload-quota": {"--spill-upload-quota=1MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startEmbedded(t, append([]string{"--spill-dir=" + t.TempDir(), "--spill-min-free=0"}, args...)...)
			for kind, build := range heldArchives {
				a, err := send(within(t), s.API, "dev", bytes.NewReader(build(heldEntries(1, 3_000_000))))
				if err != nil || a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.Error, strings.TrimSuffix(name, ",")) {
					t.Errorf("%s: %+v, error %v", kind, a, err)
				}
			}
			if keys := s.s3.Keys(t, s.bucket); len(keys) > 0 {
				t.Errorf("stored: %q", keys)
			}
			ordinary := heldEntries(1, 3_000_000)
			if a, err := send(within(t), s.API, "dev", bytes.NewReader(archive.Build(ordinary...))); err != nil || a.status != http.StatusCreated {
				t.Errorf("an ordinary archive: %+v, error %v", a, err)
			}
			s.wantEntries(t, ordinary)
		})
	}
}

// smallDisk mounts a file system of 16 MiB, and reports whether that may be done
// here.
func smallDisk(t *testing.T) (folder string, ok bool) {
	t.Helper()
	folder = t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "size=16m"); err != nil {
		t.Logf("nothing can be mounted here: %v", err)
		return folder, false
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder, true
}

// TestFullDisk has a spill folder whose file system is filled by something
// else. Where nothing can be mounted, only what goes on once there is room is
// seen here; the faults of the disk are in the tests of stream all the same.
func TestFullDisk(t *testing.T) {
	folder, mounted := smallDisk(t)
	s := startEmbedded(t, "--spill-dir="+folder, "--spill-min-free=0")
	filler := filepath.Join(folder, "filler")
	for round := range uint64(2) {
		entries := heldEntries(round, 6_000_000)
		data := heldArchives["gaps between entries"](entries)
		if mounted {
			if err := os.WriteFile(filler, make([]byte, 14<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := send(within(t), s.API, "dev", bytes.NewReader(data))
			if err != nil || a.status != http.StatusServiceUnavailable || !strings.Contains(a.Error, "disk") {
				t.Errorf("on a full disk: %+v, error %v", a, err)
			}
			if keys := s.s3.Keys(t, s.bucket); len(keys) != int(round)*len(entries) {
				t.Errorf("on a full disk: stored %q", keys)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}
		if a, err := send(within(t), s.API, "dev", bytes.NewReader(data)); err != nil || a.status != http.StatusCreated {
			t.Errorf("with room again: %+v, error %v", a, err)
		}
		s.wantEntries(t, entries)
		wantNothingSpilled(t, s.Daemon, folder)
	}
}

// TestManySpillAtOnce has 64 uploads that need the disk, which has room for
// four, and four clients that take it and then hardly send anything.
func TestManySpillAtOnce(t *testing.T) {
	in := startInside(t, "--spill-dir="+t.TempDir(), "--spill-min-free=0", "--spill-quota=13MiB", "--max-uploads=64", "--memory=256MiB")
	defer in.end(t)
	const size = 3_000_000
	stop := make(chan struct{})
	slow := make(chan error, 4)
	for i := range uint64(4) {
		body, contentType := form(t, heldArchives["gaps between entries"](heldEntries(100+i, size)))
		go func() { slow <- trickle(in.public.address(), contentType, body, len(body)/2, stop) }()
	}
	in.awaitSpilling(t, 4)
	type result struct {
		answer
		entries []archive.Entry
		err     error
	}
	results := make(chan result, 64)
	for i := range uint64(64) {
		entries := heldEntries(i, size)
		body, contentType := form(t, heldArchives["stored with a descriptor"](entries))
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+in.public.address()+"/upload/", bytes.NewReader(body))
			if err != nil {
				results <- result{err: err}
				return
			}
			req.Header.Set("Content-Type", contentType)
			req.Header.Set("Auth-Token", "dev")
			a, err := roundTrip(req)
			results <- result{a, entries, err}
		}()
	}
	s := system{s3: in.s3, bucket: in.bucket}
	stored := 0
	for range 64 {
		switch r := <-results; {
		case r.err != nil:
			t.Error(r.err)
		case r.status == http.StatusCreated:
			stored++
			s.wantEntries(t, r.entries)
		case r.status != http.StatusServiceUnavailable:
			t.Errorf("%+v", r.answer)
		}
	}
	close(stop)
	for range 4 {
		if err := <-slow; err != nil {
			t.Error(err)
		}
	}
	for range 68 {
		<-in.events
	}
	if stored == 0 {
		t.Error("none was stored")
	}
	t.Logf("%d of 64 were stored", stored)
	if u := in.spill.Usage(); u.Used != 0 || u.Files != 0 || u.Waiting != 0 {
		t.Errorf("the disk is still in use: %+v", u)
	}
	if u := in.memory.Usage(); u.Uploads != 0 || u.Leased != 0 || u.Held != 0 || u.Waiting != 0 {
		t.Errorf("memory is still in use: %+v", u)
	}
}

// awaitSpilling waits until n files are on disk.
func (in *inside) awaitSpilling(t *testing.T, n int) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for in.spill.Usage().Files < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%+v", in.spill.Usage())
		}
	}
}

// trickle sends the first n bytes of a body at once and then one every two
// seconds, until stop or until the server does not want any more.
func trickle(address, contentType string, body []byte, n int, stop <-chan struct{}) error {
	conn, err := net.Dial("tcp", address) //nolint:noctx // stop ends it
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: spillway\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
	if err == nil {
		_, err = conn.Write(body[:n])
	}
	if err != nil {
		return err
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := conn.Write(body[n : n+1]); err != nil {
				return nil // the server has closed: it has had its say
			}
			n++
		case <-stop:
			return nil
		}
	}
}
