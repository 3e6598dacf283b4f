//go:build delivery

package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
	"spillway/tokens"
)

// TestUnitIsValid: systemd has nothing to say about the unit, and its exposure is under 2.0.
func TestUnitIsValid(t *testing.T) {
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// systemd looks for the program.
	folder := t.TempDir()
	stub := filepath.Join(folder, "spillway")
	unit := filepath.Join(folder, "spillway.service")
	if err := os.WriteFile(stub, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/spillway", stub)), 0o600); err != nil {
		t.Fatal(err)
	}
	if says := run(t, "systemd-analyze", "verify", "--man=no", unit); says != "" {
		t.Errorf("systemd-analyze verify says:\n%s", says)
	}
	run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit) // tenths
}

// installed is Spillway in a container, with a store.
type installed struct {
	*container
	client.Bucket
	api string
}

// install starts the service as docs/deploying.md says, with the token dev and a bucket.
func install(t *testing.T) installed {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	store := s3server.Start(t)
	s := installed{newContainer(t, binary), client.Bucket{Store: store.Client, BucketName: store.Bucket(t)}, ""}
	listen, err := daemon.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.api = "http://" + listen
	s.write(t, "etc/spillway/environment", strings.Join([]string{
		"SPILLWAY_LISTEN=" + listen, "SPILLWAY_ADMIN_LISTEN=127.0.0.1:0", "SPILLWAY_S3_ENDPOINT=" + store.Endpoint, "SPILLWAY_S3_PATH_STYLE=true",
		"SPILLWAY_S3_BUCKET=" + s.BucketName, "SPILLWAY_S3_REGION=" + s3server.Region, "SPILLWAY_DRAIN_DELAY=1s", "",
	}, "\n"), 0o600)
	s.write(t, "etc/spillway/aws", "[default]\naws_access_key_id = "+store.AccessKey+"\naws_secret_access_key = "+store.SecretKey+"\n", 0o600)
	file := filepath.Join(s.root, "etc/spillway/tokens.json")
	s.write(t, "etc/spillway/tokens.json", `{"tokens": [{"id": 1, "email": "ci@example.com", "sha256": "`+tokens.Digest("dev")+`",
		"permissions": ["upload_symbols"], "created_at": "2026-01-01T00:00:00Z", "expires_at": "2100-01-01T00:00:00Z"}]}`, 0o600)
	group := strings.Split(run(t, "grep", "^spillway:", filepath.Join(s.root, "etc/group")), ":")[2]
	run(t, "chgrp", group, file)
	run(t, "chmod", "640", file)
	s.boot(t)
	s.await(t, "ActiveState", "active")
	return s
}

// TestService runs the unit under systemd: it gets ready, stores uploads, reads its files again,
// comes back after a crash, and ends without losing an upload.
func TestService(t *testing.T) {
	s := install(t)
	// systemd says that it is active once it takes uploads.
	if h := client.GetHeartbeat(t, s.api); h.Status != 200 {
		t.Errorf("heartbeat %+v\n%s", h, s.journal(t))
	}
	files := []archive.File{{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 10_000)}}
	if got := client.MustSend(t, s.api, "dev", archive.PythonZipfile(files...)); got.Status != 201 {
		t.Fatalf("%+v\n%s", got, s.journal(t))
	}
	s.WantStored(t, "v1/", files)
	s.wantConfined(t)
	s.wantSpill(t)

	// A token that is revoked no longer works after a reload. The file keeps its owner and mode.
	file := filepath.Join(s.root, "etc/spillway/tokens.json")
	other, err := tokens.Create(file, "other@example.com", []string{tokens.PermissionUpload}, time.Now().Add(time.Hour), "")
	if err != nil {
		t.Fatal(err)
	}
	authorized := func() bool { return client.MustSend(t, s.api, other, archive.PythonZipfile(files...)).Status == 201 }
	s.systemctl(t, "reload")
	client.Until(t, "the new token works", authorized)
	if _, err := tokens.Revoke(file, tokens.Digest(other)); err != nil {
		t.Fatal(err)
	}
	s.systemctl(t, "reload")
	client.Until(t, "the token is revoked", func() bool { return !authorized() })

	// A crash.
	pid := s.property(t, "MainPID")
	if out, err := s.exec(t.Context(), "kill", "-9", pid); err != nil {
		t.Fatal(err, out)
	}
	client.Until(t, "it is started again", func() bool {
		now := s.property(t, "MainPID")
		return now != pid && now != "0" && s.property(t, "ActiveState") == "active"
	})

	// An upload that is under way when the service is stopped.
	more := []archive.File{{Name: archive.SymbolsName(2) + ".dbg", Data: archive.Noise(2, 20<<20)}}
	u := client.SendHalfAndWait(t, s.api, archive.PythonZipfile(more...))
	stopped := make(chan string, 1)
	go func() {
		out, err := s.exec(t.Context(), "systemctl", "stop", "spillway.service")
		if err != nil {
			out += ": " + err.Error()
		}
		stopped <- out
	}()
	s.await(t, "ActiveState", "deactivating")
	close(u.Rest)
	if got := u.Wait(t); got.Status != 201 {
		t.Errorf("%+v", got)
	}
	if out := <-stopped; out != "" {
		t.Error(out)
	}
	if keys := s.Keys(t); len(keys) != 2 || !slices.Contains(keys, "v1/"+more[0].Name) {
		t.Errorf("the bucket holds %q", keys)
	}
	s.WantNoUploads(t)
	s.await(t, "Result", "success")
	s.await(t, "ActiveState", "inactive")
}

// wantConfined checks what the kernel lets the process do.
func (s installed) wantConfined(t *testing.T) {
	t.Helper()
	status, err := s.exec(t.Context(), "cat", "/proc/"+s.property(t, "MainPID")+"/status")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	for name, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000", "CapBnd": "0000000000000000"} {
		if fields[name] != want {
			t.Errorf("%s is %s, want %s", name, fields[name], want)
		}
	}
	if strings.HasPrefix(fields["Uid"], "0") {
		t.Errorf("it runs as root: %s", fields["Uid"])
	}
}

// wantSpill checks that Spillway can write to the spill folder, and nobody else.
func (s installed) wantSpill(t *testing.T) {
	t.Helper()
	if state, message := client.CheckState(t, s.api, "spill"); state != "ok" {
		t.Errorf("spill: %s: %s", state, message)
	}
	info, err := os.Stat(filepath.Join(s.root, "var/cache/spillway"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the spill folder: %v, %v", info, err)
	}
}

// TestServiceWithABadSetting: the start fails, and is not tried again.
func TestServiceWithABadSetting(t *testing.T) {
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := newContainer(t, binary)
	c.write(t, "etc/spillway/environment", "SPILLWAY_MEMORY=1MiB\n", 0o600)
	c.boot(t)
	c.await(t, "ActiveState", "failed")
	for name, want := range map[string]string{"ExecMainStatus": "2", "NRestarts": "0"} {
		if got := c.property(t, name); got != want {
			t.Errorf("%s is %s, want %s\n%s", name, got, want, c.journal(t))
		}
	}
}
