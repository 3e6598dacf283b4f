package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/settings"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/s3server"
)

// inside is a service within the test's own process, before a real S3 server,
// so that the test can look at what it keeps.
type inside struct {
	*service
	client.Bucket
	events chan zapcore.Entry // one for each upload, once its room is given back
	served chan error
}

// startInside starts a service with settings and overrides of its own.
func startInside(t *testing.T, o overrides, args ...string) *inside {
	t.Helper()
	server := s3server.Start(t)
	useCredentialsOf(t, server)
	return startInsideBefore(t, server.Client, server.Endpoint, o, args...)
}

func useCredentialsOf(t *testing.T, server *s3server.Server) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
}

// startInsideBefore is startInside before a server that runs already, and has
// another endpoint for the service.
func startInsideBefore(t *testing.T, server s3server.Client, endpoint string, o overrides, args ...string) *inside {
	t.Helper()
	in := &inside{Bucket: client.Bucket{Store: server, BucketName: server.Bucket(t)}, events: make(chan zapcore.Entry, 100), served: make(chan error, 1)}
	s, _, err := settings.Parse(append([]string{
		"--dev", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--memory=64MiB", "--s3-endpoint=" + endpoint, "--s3-bucket=" + in.BucketName,
	}, args...), func(string) string { return "" }, io.Discard)
	if err == nil {
		err = s.Serve.Complete()
	}
	if err != nil {
		t.Fatal(err)
	}
	log := zap.New(zapcore.NewNopCore()).WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core {
		return zapcore.RegisterHooks(observed{}, func(e zapcore.Entry) error {
			if e.Message == "upload" {
				in.events <- e
			}
			return nil
		})
	}))
	noLimit := func(string) string { return "off" } // the heap of the tests is not the program's
	if in.service, err = newService(t.Context(), &s.Serve, o, noLimit, log, nil); err != nil {
		t.Fatal(err)
	}
	go func() { in.served <- in.public.Serve(in.public.listener) }()
	return in
}

// observed is a core that takes every entry and writes none.
type observed struct{ zapcore.LevelEnabler }

func (observed) Enabled(zapcore.Level) bool          { return true }
func (o observed) With([]zapcore.Field) zapcore.Core { return o }
func (o observed) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, o)
}
func (observed) Write(zapcore.Entry, []zapcore.Field) error { return nil }
func (observed) Sync() error                                { return nil }

// sendBroken sends the first part of a request and closes the connection.
func (in *inside) sendBroken(t *testing.T, contentType string, length int, body io.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", in.public.address())
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: spillway\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, length)
	if err == nil {
		_, err = io.Copy(conn, body)
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	<-in.events
}

// wantNothing checks that an upload left nothing: no object, no unfinished
// upload, no memory.
func (in *inside) wantNothing(t *testing.T, what string) {
	t.Helper()
	if keys := in.Store.Keys(t, in.BucketName); len(keys) != 0 {
		t.Errorf("%s: visible: %q", what, keys)
	}
	if uploads := in.Store.Uploads(t, in.BucketName); len(uploads) != 0 {
		t.Errorf("%s: unfinished multipart uploads: %v", what, uploads)
	}
	in.wantRoom(t, what)
}

// wantRoom checks that neither memory nor disk is in use. What an answer takes is
// given back when the answer has been written, which may be a moment after its client
// has read it.
func (in *inside) wantRoom(t *testing.T, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		memory, disk := in.memory.Usage(), in.spill.Usage()
		if memory.Uploads == 0 && memory.Leased == 0 && memory.Held == 0 && memory.Waiting == 0 && disk.Used == 0 && disk.Files == 0 && disk.Waiting == 0 {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Errorf("%s: room is kept: memory %+v, disk %+v", what, memory, disk)
			return
		}
	}
}

// end ends the service and checks that none of its goroutines is left.
func (in *inside) end(t *testing.T) {
	t.Helper()
	in.stop(t)
	wantNoGoroutines(t)
}

// stop ends the service.
func (in *inside) stop(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := in.drain(ctx); err != nil {
		t.Error(err)
	}
	in.closeAll(ctx, func() {})
	if err := <-in.served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// wantNoGoroutines checks that no goroutine of a service is left. One that has done
// its work may take a moment to end.
func wantNoGoroutines(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		left := goroutinesOfUploads(t)
		if len(left) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
			return
		}
	}
}

// goroutinesOfUploads returns the stacks of the goroutines that work for uploads.
func goroutinesOfUploads(t *testing.T) (stacks []string) {
	t.Helper()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		for _, room := range []string{"spillway/upload.", "spillway/stream.", "spillway/s3sink."} {
			if strings.Contains(stack, room) {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return stacks
}

// TestCutOff closes the connection at many places of an upload. Nothing of it
// is left: a whole archive in a form that lacks its end is cut off as well.
func TestCutOff(t *testing.T) {
	in := startInside(t, overrides{})
	defer in.end(t)
	var files []archive.File
	for i := range uint64(5) {
		files = append(files, archive.File{Name: archive.SymbolsName(i), Data: archive.Noise(i, 40_000)})
	}
	body, contentType := client.Form(archive.PythonZipfile(files...))
	for at := 0; at < len(body); at += 1000 {
		in.sendBroken(t, contentType, len(body), bytes.NewReader(body[:at]))
		in.wantNothing(t, fmt.Sprintf("cut off at byte %d", at))
	}
	for missing := 1; missing <= 6; missing++ {
		cut := len(body) - missing
		in.sendBroken(t, contentType, len(body), bytes.NewReader(body[:cut]))
		in.wantNothing(t, fmt.Sprintf("cut off %d bytes before the end", missing))
	}
	// The request is complete, but for its form's closing boundary. A line's end
	// behind the boundary is not part of it.
	for missing := 3; missing <= 60; missing++ {
		cut := body[:len(body)-missing]
		in.sendBroken(t, contentType, len(cut), bytes.NewReader(cut))
		in.wantNothing(t, fmt.Sprintf("without the last %d bytes of the form", missing))
	}
}

// TestCutOffWithinParts closes the connection in the middle of an entry of many
// parts, some of which are staged.
func TestCutOffWithinParts(t *testing.T) {
	in := startInside(t, overrides{})
	defer in.end(t)
	body, contentType := client.Form(archive.PythonZipfile(
		archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 100_000)},
		archive.File{Name: archive.SymbolsName(2), Data: archive.Noise(2, 100<<20)},
	))
	in.sendBroken(t, contentType, len(body), bytes.NewReader(body[:len(body)/2]))
	in.wantNothing(t, "cut off in the middle")
}

// drop removes all objects, so that the next upload begins with none.
func (in *inside) drop(t *testing.T) {
	t.Helper()
	for _, key := range in.Store.Keys(t, in.BucketName) {
		if err := in.Store.Delete(t.Context(), in.BucketName, key); err != nil {
			t.Fatal(err)
		}
	}
}
