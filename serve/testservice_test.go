package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"spillway/settings"
	"spillway/testdata/client"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// testService is a service within the test's own process, so that the test sees what the
// service keeps.
type testService struct {
	*service
	client.Bucket
	events chan zapcore.Entry // one for each upload, once its room is given back
	served chan error
}

// startService starts a service and a real S3 server. Both end with the test.
func startService(t *testing.T, o overrides, args ...string) *testService {
	t.Helper()
	server := s3server.Start(t)
	return startServiceAt(t, server.Client, server.Endpoint, o, args...)
}

// startBehindProxy is startService with a proxy on the way to the S3 server.
func startBehindProxy(t *testing.T, server *s3server.Server, o overrides, args ...string) (*testService, *s3fault.Proxy) {
	t.Helper()
	proxy, err := s3fault.NewProxy(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return startServiceAt(t, server.Client, front.URL, o, args...), proxy
}

// startServiceAt starts a service with a bucket of its own in a running S3 server,
// which it reaches through an endpoint.
func startServiceAt(t *testing.T, server s3server.Client, endpoint string, o overrides, args ...string) *testService {
	t.Helper()
	svc := &testService{Bucket: client.Bucket{Store: server, BucketName: server.Bucket(t)}, events: make(chan zapcore.Entry, 100), served: make(chan error, 1)}
	s, _, err := settings.Parse(append([]string{
		"--dev", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--memory=256MiB", "--s3-endpoint=" + endpoint, "--s3-bucket=" + svc.BucketName,
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
				svc.events <- e
			}
			return nil
		})
	}))
	if svc.service, err = newService(t.Context(), &s.Serve, o, environment, log, newAsyncWriter(io.Discard)); err != nil {
		t.Fatal(err)
	}
	go func() { svc.served <- svc.public.Serve(svc.public.listener) }()
	t.Cleanup(func() { svc.stop(t) })
	return svc
}

// environment has no memory limit: the heap of the tests is not the program's.
func environment(name string) string {
	if name == "GOMEMLIMIT" {
		return "off"
	}
	return ""
}

// api is the base URL of the service.
func (svc *testService) api() string { return "http://" + svc.public.address() }

// observed is a log core that accepts every entry and writes nothing.
type observed struct{ zapcore.LevelEnabler }

func (observed) Enabled(zapcore.Level) bool          { return true }
func (o observed) With([]zapcore.Field) zapcore.Core { return o }
func (o observed) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, o)
}
func (observed) Write(zapcore.Entry, []zapcore.Field) error { return nil }
func (observed) Sync() error                                { return nil }

// sendBroken sends the start of a request and closes the connection.
func (svc *testService) sendBroken(t *testing.T, contentType string, length int, body io.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", svc.public.address())
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
	<-svc.events
}

// wantNothing checks that an upload left no object, no unfinished multipart upload, and no
// memory or disk in use.
func (svc *testService) wantNothing(t *testing.T, what string) {
	t.Helper()
	if keys := svc.Keys(t); len(keys) != 0 {
		t.Errorf("%s: visible: %q", what, keys)
	}
	if uploads := svc.Store.Uploads(t, svc.BucketName); len(uploads) != 0 {
		t.Errorf("%s: unfinished multipart uploads: %v", what, uploads)
	}
	svc.wantRoom(t, what)
}

// wantRoom checks that no memory and no disk is in use. The memory of an answer may be given
// back a moment after the client has read it.
func (svc *testService) wantRoom(t *testing.T, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		memory, disk := svc.budget.Usage(), svc.budget.Spill().Usage()
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

// stop ends the service.
func (svc *testService) stop(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := svc.drain(ctx); err != nil {
		t.Error(err)
	}
	svc.closeAll(ctx, func() {})
	if err := <-svc.served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// drop removes all objects from the bucket.
func (svc *testService) drop(t *testing.T) {
	t.Helper()
	for _, key := range svc.Keys(t) {
		if err := svc.Store.Delete(t.Context(), svc.BucketName, key); err != nil {
			t.Fatal(err)
		}
	}
}
