//go:build delivery

package balancers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/proxy"
	"spillway/testdata/s3server"
)

// program is the path of Spillway.
var program string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "spillway-balancers-")
	if err != nil {
		panic(err)
	}
	if program, err = daemon.Build(context.Background(), folder); err != nil {
		panic(err)
	}
	status := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		panic(err)
	}
	os.Exit(status)
}

// each runs a test with nginx and with HAProxy, at the same time.
func each(t *testing.T, test func(t *testing.T, k proxy.Kind)) {
	t.Parallel()
	for _, k := range []proxy.Kind{proxy.Nginx, proxy.HAProxy} {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// bed is two instances over one bucket, and a proxy before them.
type bed struct {
	client.Bucket

	instances [2]*instance
	url       string // of the proxy
	tls       *tls.Config
	http      *http.Client
}

// instance is a Spillway that starts again on its address.
type instance struct {
	*daemon.Daemon

	address string
	env     []string
	args    []string
}

// newBed starts all of it. It ends with the test.
func newBed(t *testing.T, k proxy.Kind, args ...string) *bed {
	t.Helper()
	store := s3server.Start(t)
	b := &bed{Bucket: client.Bucket{Store: store.Client, BucketName: store.Bucket(t)}}
	folder := t.TempDir()
	cert, key, err := client.WriteSelfSigned(folder)
	if err != nil {
		t.Fatal(err)
	}
	place := proxy.Place{Root: "../..", Folder: folder}
	for i := range b.instances {
		address, err := daemon.FreeAddress(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		place.Instances[i] = address
		b.instances[i] = &instance{
			address: address,
			env:     []string{"AWS_ACCESS_KEY_ID=" + store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + store.SecretKey},
			args: slices.Concat([]string{
				"--dev", "--log-format=json", "--s3-endpoint=" + store.Endpoint, "--s3-bucket=" + b.BucketName, "--s3-part-size=5MiB",
				"--max-expanded-size=40GiB", "--trusted-proxies=127.0.0.1", "--spill-dir=" + t.TempDir(), "--spill-min-free=0", "--listen=" + address,
			}, args),
		}
		b.instances[i].start(t)
	}
	trust := x509.NewCertPool()
	pem, err := os.ReadFile(cert)
	if err != nil || !trust.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate", err)
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "both.pem"), slices.Concat(pem, keyPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Start(t.Context(), k, folder, place.Shipped(k))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if said, err := p.Log(); t.Failed() {
			t.Logf("the proxy's log, without what was stored: %v", err)
			for line := range strings.Lines(said) {
				if !strings.Contains(line, " 201 ") {
					t.Log(line)
				}
			}
		}
	})
	b.url = "https://" + p.Address
	b.tls = &tls.Config{RootCAs: trust, ServerName: "127.0.0.1"}
	b.http = &http.Client{Transport: &http.Transport{TLSClientConfig: b.tls, MaxIdleConnsPerHost: 64}}
	t.Cleanup(b.http.CloseIdleConnections)
	client.Until(t, "the proxy passes requests on", func() bool { return b.isOpen(t) })
	return b
}

// isOpen reports whether the proxy passes requests on.
func (b *bed) isOpen(t *testing.T) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/__version__", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.http.Do(req)
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// start starts the instance, again if it has ended.
func (i *instance) start(t *testing.T) {
	t.Helper()
	d, err := daemon.Start(t.Context(), program, i.env, i.args...)
	if err != nil {
		t.Fatal(err)
	}
	i.Daemon = d
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if log := d.Log(); t.Failed() {
			t.Logf("the end of the log of %s:\n%s", i.address, log[max(0, len(log)-6000):])
		}
	})
}

// terminate sends SIGTERM, and waits for the end. It returns how long that took.
func (i *instance) terminate(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := i.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status, err := i.Wait(client.Within(t)); err != nil || status != 0 {
		t.Errorf("exit status %d, error %v", status, err)
	}
	return time.Since(began)
}

// stored returns how many uploads the instance has stored since its start.
func (i *instance) stored(t *testing.T) int {
	t.Helper()
	all, err := i.Metrics(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	n, there := all[`spillway_uploads_total{outcome="stored",reason=""}`]
	if !there {
		t.Fatal(fmt.Errorf("no metric of stored uploads"))
	}
	return int(n)
}
