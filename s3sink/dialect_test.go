package s3sink_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/internal/s3event"
	"spillway/s3sink"
	"spillway/testdata/s3quirk"
	"spillway/testdata/s3server"
)

// TestDialects uploads to stores that differ from S3. Each is a proxy before a real server.
func TestDialects(t *testing.T) {
	server := real(t)
	for _, store := range []struct {
		name     string
		quirk    s3quirk.Quirk
		checksum s3event.Checksum
	}{
		{"S3", func(next http.Handler) http.Handler { return next }, s3event.WholeCRC32},
		{"Google's front end", s3quirk.Google(), s3event.WholeCRC32},
		{"no checksum of the whole", s3quirk.PartChecksums(), s3event.PartCRC32},
		{"no checksums, 400", s3quirk.NoChecksums(false), s3event.ContentMD5},
		{"no checksums, 501", s3quirk.NoChecksums(true), s3event.ContentMD5},
		{"checksums are ignored", s3quirk.IgnoresChecksums(), s3event.ContentMD5},
		{"radosgw", s3quirk.RadosGW(), s3event.ContentMD5},
		{"MinIO", s3quirk.Minio(t, server), s3event.WholeCRC32},
	} {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			endpoint := s3quirk.Before(t, server, store.quirk)
			var found []s3event.Checksum
			r := newRig(t, server, func(cfg *s3sink.Config) {
				cfg.Endpoint, cfg.TryPrefix = endpoint, cfg.Prefix
				cfg.OnChecksum = func(_ string, c s3event.Checksum) { found = append(found, c) }
			})
			if err := r.sink.Probe(t.Context()); err != nil {
				t.Errorf("probe: %v", err)
			}
			if !slices.Equal(found, []s3event.Checksum{store.checksum}) {
				t.Errorf("checked by %q, want %q", found, store.checksum)
			}
			r.wantNothing(t)
			r.wantLifeOfAnUpload(t)
		})
	}
}

// wantLifeOfAnUpload uploads files of each form, uploads them again, aborts an upload, and
// sweeps what another one has left.
func (r *rig) wantLifeOfAnUpload(t *testing.T) {
	t.Helper()
	files := mixed(r.budget.PartSize())
	if _, err := r.upload(t, files...); err != nil {
		t.Fatalf("first upload: %v", err)
	}
	for _, f := range files {
		r.wantStored(t, f)
	}
	batch, err := r.upload(t, files...)
	if got := batch.Skipped(); err != nil || len(got) != len(files) {
		t.Errorf("second upload: skipped %q of %d files: %v", got, len(files), err)
	}
	keys := len(r.Keys(t, r.bucket))
	r.leave(t, false, 3)
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != 3 || err != nil {
		t.Errorf("sweep: %d aborted, want 3: %v", aborted, err)
	}
	r.wantFinished(t)
	if n := len(r.Keys(t, r.bucket)); n != keys {
		t.Errorf("%d objects, want %d", n, keys)
	}
	r.idle(t)
}

// TestProxyDropsHeaders checks that a probe names a proxy that drops headers with underscores,
// before a store that checks signatures and before one that does not, and for objects of
// either form.
func TestProxyDropsHeaders(t *testing.T) {
	onlyMultipart := func(next http.Handler) http.Handler {
		nginx := s3quirk.Nginx()(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				nginx.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	for name, server := range map[string]s3server.Client{"signatures are checked": real(t), "no signatures": embedded(t)} {
		for form, quirk := range map[string]s3quirk.Quirk{"all requests": s3quirk.Nginx(), "multipart uploads": onlyMultipart} {
			t.Run(name+", "+form, func(t *testing.T) {
				endpoint := s3quirk.Before(t, server, quirk)
				r := newRig(t, server, func(cfg *s3sink.Config) { cfg.Endpoint = endpoint })
				for range 2 {
					err := r.sink.Probe(t.Context())
					if failed := storeError(t, err); failed.Code != "metadata lost" {
						t.Errorf("failed with %s: %v", failed.Code, err)
					}
					if says := s3sink.Explain(err); !strings.Contains(says, "underscores_in_headers on") {
						t.Errorf("explained as %q", says)
					}
				}
				r.wantFinished(t)
			})
		}
	}
}

// TestAbortThatDeletes checks that a probe finds a store whose aborts delete objects. Uploads go
// on: most of them abort nothing.
func TestAbortThatDeletes(t *testing.T) {
	server := real(t)
	endpoint := s3quirk.Before(t, server, s3quirk.AbortDeletes(t, server))
	r := newRig(t, server, func(cfg *s3sink.Config) { cfg.Endpoint = endpoint })
	err := r.sink.Probe(t.Context())
	if failed := storeError(t, err); failed.Code != "not there after it was written" || !strings.Contains(s3sink.Explain(err), "is aborted") {
		t.Errorf("%v, explained as %q", err, s3sink.Explain(err))
	}
	if says := r.sink.Checksums(); says == "" {
		t.Error("the checksum has not been found out")
	}
	if _, err := r.upload(t, mixed(r.budget.PartSize())...); err != nil {
		t.Error(err)
	}
}
