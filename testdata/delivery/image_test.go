//go:build delivery

package delivery

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// user is the one that the image runs as.
const user = 65532

// engine is Podman with a storage of its own, without systemd.
type engine []string

func newEngine(t *testing.T) engine {
	t.Helper()
	folder, err := os.MkdirTemp("", "spillway-podman-") // t.TempDir is too long for its sockets
	if err != nil {
		t.Fatal(err)
	}
	e := engine{
		"podman", "--root=" + folder + "/root", "--runroot=" + folder + "/run", "--tmpdir=" + folder + "/tmp",
		"--storage-driver=vfs", "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=file",
	}
	t.Cleanup(func() {
		e.output(t, "rm", "--all", "--force", "--time=0")
		e.output(t, "rmi", "--all", "--force")
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e engine) output(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(output(t, e[0], slices.Concat(e[1:], args)...))
}

// healthy runs the health check of a container, as Docker and Podman do in intervals.
func (e engine) healthy(t *testing.T, container string) bool {
	t.Helper()
	return exec.CommandContext(t.Context(), e[0], slices.Concat(e[1:], []string{"healthcheck", "run", container})...).Run() == nil
}

// run starts a container, locked down as far as it goes, and returns the base URL of its API
// and the id of its process.
func (e engine) run(t *testing.T, name, image string, options ...string) (api, process string) {
	t.Helper()
	address, err := daemon.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.output(t, slices.Concat([]string{
		"run", "--detach", "--name=" + name, "--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all",
		"--security-opt=no-new-privileges", "--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024",
		"--env=SPILLWAY_LISTEN=" + address, "--env=SPILLWAY_ADMIN_LISTEN=127.0.0.1:0", "--env=SPILLWAY_S3_PATH_STYLE=true",
		"--env=SPILLWAY_S3_REGION=" + s3server.Region, "--env=SPILLWAY_SPILL_MIN_FREE=1MiB",
		"--env=AWS_ACCESS_KEY_ID=" + s3server.AccessKey, "--env=AWS_SECRET_ACCESS_KEY=" + s3server.SecretKey,
	}, options, []string{image})...)
	client.Until(t, name+" is healthy", func() bool { return e.healthy(t, name) })
	return "http://" + address, e.output(t, "inspect", "--format={{.State.Pid}}", name)
}

// startTLS starts a server that is no S3 server, and returns its URL.
func startTLS(t *testing.T, cert, key string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// TestImage builds the image, runs it as a user who may do nothing, uploads through it to a
// real S3 server, and ends it in each way.
func TestImage(t *testing.T) {
	e := newEngine(t)
	source := clone(t, filepath.Join(t.TempDir(), "source"), "--depth=1")
	podman := "PODMAN=" + strings.Join(e, " ")
	makeIn(t, source, nil, "image", podman)
	image := e.output(t, "images", "--format={{.Repository}}:{{.Tag}}", "--filter=reference=spillway:*-amd64")
	other := strings.TrimSuffix(image, "amd64") + "arm64"
	layers := func() string {
		return e.output(t, "inspect", "--format={{.Architecture}} {{.RootFS.Layers}}", image, other)
	}
	first := layers()
	makeIn(t, source, nil, "image", podman)
	if second := layers(); second != first || !strings.HasPrefix(first, "amd64 ") || !strings.Contains(first, "\narm64 ") {
		t.Errorf("the images have the layers\n%s\nand then\n%s", first, second)
	}
	t.Logf("%s: %s bytes", image, e.output(t, "inspect", "--format={{.Size}}", image))

	folder := t.TempDir()
	if err := os.Chown(folder, user, user); err != nil {
		t.Fatal(err)
	}
	tokens := "--volume=" + folder + ":/etc/spillway"
	token := e.output(t, "run", "--rm", "--network=none", "--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024", "--read-only", tokens, image,
		"token", "create", "--tokens-file=/etc/spillway/tokens.json", "--email=ci@example.com")

	store := s3server.Start(t)
	service := func(t *testing.T, name string, options ...string) (api, process string, bucket client.Bucket) {
		t.Helper()
		bucket = client.Bucket{Store: store.Client, BucketName: store.Bucket(t)}
		api, process = e.run(t, name, image, append([]string{
			tokens + ":ro", "--env=SPILLWAY_TOKENS_FILE=/etc/spillway/tokens.json",
			"--env=SPILLWAY_S3_ENDPOINT=" + store.Endpoint, "--env=SPILLWAY_S3_BUCKET=" + bucket.BucketName,
		}, options...)...)
		return api, process, bucket
	}

	t.Run("uploads", func(t *testing.T) {
		api, process, bucket := service(t, "uploads")
		wantLocked(t, process)
		wantReleased(t, process, filepath.Join(source, "dist"))
		files := []archive.File{{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 100_000)}}
		if a := client.MustSend(t, api, token, archive.PythonZipfile(files...)); a.Status != 201 {
			t.Fatalf("%+v", a)
		}
		spilled := archive.File{Name: "a.dll/0A0B/a.dll", Data: archive.Noise(1, 12<<20)}
		zip := archive.Build(archive.Entry{Name: spilled.Name, Data: spilled.Data, Descriptor: archive.Signed32})
		if a := client.MustSend(t, api, token, zip); a.Status != 201 {
			t.Fatalf("an archive that needs the spill volume: %+v", a)
		}
		bucket.WantStored(t, "v1/", append(files, spilled))
		if h := client.GetHeartbeat(t, api); h.Status != 200 {
			t.Errorf("the heartbeat says %+v", h)
		}
		e.output(t, "stop", "--time=30", "uploads")
		if status := e.output(t, "inspect", "--format={{.State.ExitCode}}", "uploads"); status != "0" {
			t.Errorf("exit status %s", status)
		}
		bucket.WantNoUploads(t)
	})

	t.Run("drains", func(t *testing.T) {
		service(t, "drains", "--env=SPILLWAY_DRAIN_DELAY=1h")
		e.output(t, "kill", "--signal=TERM", "drains")
		client.Until(t, "unhealthy", func() bool { return !e.healthy(t, "drains") })
	})

	t.Run("is killed", func(t *testing.T) {
		api, process, _ := service(t, "killed", "--env=SPILLWAY_MEMORY=64MiB")
		spilled := archive.Build(archive.Entry{Name: "a.dll/0A0B/a.dll", Data: archive.Noise(1, 80<<20), Descriptor: archive.Signed32})
		content, half := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := client.Send(client.Within(t), api, token, content)
			ended <- err
		}()
		if _, err := half.Write(spilled[:len(spilled)/2]); err != nil {
			t.Fatal(err)
		}
		client.Until(t, "a spill file", func() bool { return hasSpillFile(t, process) })
		volume := e.output(t, "inspect", `--format={{range .Mounts}}{{if eq .Destination "/var/spool/spillway"}}{{.Source}}{{end}}{{end}}`, "killed")
		e.output(t, "kill", "killed")
		e.output(t, "wait", "killed")
		left, err := os.ReadDir(volume)
		if err != nil || len(left) > 0 {
			t.Errorf("the spill volume holds %v: %v", left, err)
		}
		if e.healthy(t, "killed") {
			t.Error("a container that was killed is healthy")
		}
		_ = half.Close() // the client has failed
		if err := <-ended; err == nil {
			t.Error("the upload of a service that was killed has succeeded")
		}
	})

	t.Run("trusts its certificates", func(t *testing.T) { testCertificates(t, e, image, tokens) })
}

// hasSpillFile reports whether a process has a file in the spill volume.
func hasSpillFile(t *testing.T, process string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/" + process + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		target, err := os.Readlink(file)
		return err == nil && strings.Contains(target, "/var/spool/spillway/") // other files come and go
	})
}

// wantLocked checks what the process in a container may do.
func wantLocked(t *testing.T, process string) {
	t.Helper()
	status, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("\t%d", user)
	for _, line := range []string{
		"Uid:" + strings.Repeat(id, 4), "Gid:" + strings.Repeat(id, 4), "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(string(status), "\n"+line+"\n") {
			t.Errorf("the process lacks %q:\n%s", line, status)
		}
	}
	mounts, err := os.ReadFile("/proc/" + process + "/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		writable := strings.HasPrefix(fields[3], "rw")
		pseudo := strings.HasPrefix(fields[1], "/proc") || strings.HasPrefix(fields[1], "/dev") || strings.HasPrefix(fields[1], "/sys")
		if writable != (fields[1] == "/var/spool/spillway") && !pseudo {
			t.Errorf("writable: %t: %s", writable, line)
		}
	}
}

// wantReleased compares the files that a container sees with those of a release.
func wantReleased(t *testing.T, process, dist string) {
	t.Helper()
	archives, err := filepath.Glob(dist + "/spillway-*-linux-amd64.tar.gz")
	if err != nil || len(archives) != 1 {
		t.Fatalf("archives %q: %v", archives, err)
	}
	unpacked := t.TempDir()
	output(t, "tar", "-xzf", archives[0], "-C", unpacked, "--strip-components=1")
	for inside, outside := range map[string]string{
		"/usr/bin/spillway":                  unpacked + "/spillway",
		"/usr/share/doc/spillway/LICENSE":    unpacked + "/LICENSE",
		"/usr/share/doc/spillway/NOTICE":     unpacked + "/NOTICE",
		"/etc/ssl/certs/ca-certificates.crt": dist + "/ca-certificates.crt",
	} {
		got, err := os.ReadFile("/proc/" + process + "/root" + inside)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(outside)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the release", inside)
		}
	}
}

// testCertificates: the program in the image trusts the certificates in the image's file. A
// file in its place brings others.
func testCertificates(t *testing.T, e engine, image, tokens string) {
	cert, key := client.SelfSigned(t)
	if err := os.Chmod(cert, 0o644); err != nil {
		t.Fatal(err)
	}
	private := startTLS(t, cert, key)
	for name, c := range map[string]struct {
		options []string
		want    string // in the message of the heartbeat
	}{
		"mozilla": {nil, "unknown certificate authority"},
		"mounted": {[]string{"--volume=" + cert + ":/etc/ssl/certs/ca-certificates.crt:ro"}, "HTTP 418"},
	} {
		api, _ := e.run(t, name, image, append(c.options, tokens+":ro", "--env=SPILLWAY_TOKENS_FILE=/etc/spillway/tokens.json",
			"--env=SPILLWAY_S3_ENDPOINT="+private, "--env=SPILLWAY_S3_BUCKET=b")...)
		if h := client.AwaitCheck(t, api, "storage", "error"); !strings.Contains(h.Message("storage"), c.want) {
			t.Errorf("%s: the heartbeat says %q, want %q", name, h.Message("storage"), c.want)
		}
	}
}
