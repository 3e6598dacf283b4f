package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3fault"
	"spillway/testdata/tecken"
	"spillway/testdata/tmpfs"
)

// faults prepare each fault: they start its instance.
var faults = []func(context.Context, *fleet) (*fault, error){
	storeFails, uploadsFail, cleaningFails, diskIsFull, quotaIsTaken, memoryIsTaken, turnsAreTaken, clientsLeave,
	tokensFileIsInvalid, tokenExpires, tokensAreGone, upstreamIsDown, nobodyReadsLog, filesRunOut,
}

// nothing is the end of a fault that has ended already.
func nothing(context.Context) error { return nil }

// failing returns a fault of an instance whose calls to S3 fail, those that match.
func failing(ctx context.Context, f *fleet, name string, match func(call string) bool) (*fault, error) {
	d, proxy, err := f.startBehind(ctx, name)
	return &fault{
		at: d,
		begin: func(context.Context) error {
			proxy.InjectSome(func(call string) *s3fault.Fault {
				if !match(call) {
					return nil
				}
				return &s3fault.Fault{Call: call, Kind: s3fault.InternalError}
			})
			return nil
		},
		end: func(context.Context) error { proxy.InjectSome(nil); return nil },
	}, err
}

func storeFails(ctx context.Context, f *fleet) (*fault, error) {
	p, err := failing(ctx, f, "storage", func(call string) bool { return !strings.HasPrefix(call, "List") })
	p.what, p.alerts = "S3 answers 500 to everything but lists", []string{"SpillwayStorage"}
	return p, err
}

func cleaningFails(ctx context.Context, f *fleet) (*fault, error) {
	p, err := failing(ctx, f, "janitor", func(call string) bool { return strings.HasPrefix(call, "ListMultipartUploads") })
	p.what, p.alerts = "S3 answers 500 to `ListMultipartUploads`", []string{"SpillwayJanitorStuck"}
	return p, err
}

func uploadsFail(ctx context.Context, f *fleet) (*fault, error) {
	p, err := failing(ctx, f, "uploads", func(call string) bool { return strings.HasPrefix(call, "PutObject") && !isProbe(call) })
	p.what, p.alerts = "S3 answers 500 to `PutObject`, and 8 uploads fail", []string{"SpillwayNothingStored", "SpillwayUploadsFail"}
	inject, restore := p.begin, p.end
	p.begin = func(ctx context.Context) error {
		if err := inject(ctx); err != nil {
			return err
		}
		return uploads(ctx, p.at, 8, http.StatusServiceUnavailable)
	}
	p.end = func(ctx context.Context) error {
		if err := restore(ctx); err != nil {
			return err
		}
		return uploads(ctx, p.at, 1, http.StatusCreated)
	}
	return p, err
}

// uploads sends n archives at once. The answers must have that status.
func uploads(ctx context.Context, d *daemon.Daemon, n int, want int) error {
	failed := make(chan error, n)
	for i := range n {
		go func() {
			status, err := upload(ctx, d, uint64(i))
			if err == nil && status != want {
				err = fmt.Errorf("an upload is answered with %d, want %d", status, want)
			}
			failed <- err
		}()
	}
	var err error
	for range n {
		if e := <-failed; e != nil {
			err = e
		}
	}
	return err
}

func diskIsFull(ctx context.Context, f *fleet) (*fault, error) {
	disk, err := tmpfs.Mount(64 << 20) //nolint:contextcheck // it stays until the end
	if err != nil {
		return nil, err
	}
	f.atEnd(disk.Close)
	d, err := f.start(ctx, "spill", "--spill-dir="+disk.Path, "--spill-quota=8MiB", "--spill-upload-quota=8MiB", "--spill-min-free=16MiB")
	var empty func() error
	return &fault{
		what: "another program fills the disk of `--spill-dir`", alerts: []string{"SpillwayOut"}, at: d,
		begin: func(context.Context) (err error) { empty, err = disk.Fill(4 << 20); return err },
		end:   func(context.Context) error { return empty() },
	}, err
}

// stalled returns a fault of an instance that has uploads of zip which do not get on.
func stalled(d *daemon.Daemon, n int, zip []byte) *fault {
	var ends []func()
	return &fault{
		at: d,
		begin: func(ctx context.Context) error {
			for range n {
				ends = append(ends, stall(ctx, d, zip))
			}
			return nil
		},
		end: func(context.Context) error {
			for _, end := range ends {
				end()
			}
			return nil
		},
	}
}

// oneFile returns an archive with a file of size bytes that cannot be compressed.
func oneFile(size int) []byte {
	return archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Noise(1, size)})
}

func quotaIsTaken(ctx context.Context, f *fleet) (*fault, error) {
	d, err := f.start(ctx, "quota", "--spill-quota=20MiB", "--spill-upload-quota=20MiB", "--idle-timeout=1h")
	p := stalled(d, 1, archive.NeedsDisk(1, 19<<20).Bytes())
	p.what, p.alerts = "one upload holds 95 % of `--spill-quota`", []string{"SpillwaySpill"}
	return p, err
}

func memoryIsTaken(ctx context.Context, f *fleet) (*fault, error) {
	d, err := f.start(ctx, "memory", "--memory=64MiB", "--idle-timeout=1h")
	p := stalled(d, 64, oneFile(4<<20))
	p.what, p.alerts = "64 uploads stall", []string{"SpillwayMemory"}
	return p, err
}

func turnsAreTaken(ctx context.Context, f *fleet) (*fault, error) {
	d, err := f.start(ctx, "turns", "--max-uploads=1", "--room-wait=100ms", "--idle-timeout=1h")
	p := stalled(d, 1, oneFile(1<<20))
	p.what, p.alerts = "a stalled upload has the only turn, and 20 are refused", []string{"SpillwayTooSmall"}
	begin := p.begin
	p.begin = func(ctx context.Context) error {
		if err := begin(ctx); err != nil {
			return err
		}
		if err := until(ctx, func() bool {
			values, err := d.Metrics(ctx)
			return err == nil && values[`spillway_uploads_in_flight{stage="receiving"}`] == 1
		}); err != nil {
			return err
		}
		return uploads(ctx, d, 20, http.StatusServiceUnavailable)
	}
	return p, err
}

func clientsLeave(ctx context.Context, f *fleet) (*fault, error) {
	d, err := f.start(ctx, "clients")
	return &fault{
		what: "8 clients leave during their uploads", alerts: []string{"SpillwayUploadsCutOff"}, at: d, end: nothing,
		begin: func(ctx context.Context) error {
			p := stalled(d, 8, oneFile(1<<20))
			if err := p.begin(ctx); err != nil {
				return err
			}
			if err := until(ctx, func() bool {
				values, err := d.Metrics(ctx)
				return err == nil && values[`spillway_uploads_in_flight{stage="receiving"}`] == 8
			}); err != nil {
				return err
			}
			return p.end(ctx)
		},
	}, err
}

func nobodyReadsLog(ctx context.Context, f *fleet) (*fault, error) {
	d, err := f.start(ctx, "log")
	return &fault{
		what: "nobody reads standard error", alerts: []string{"SpillwayLogDropped"}, at: d,
		begin: func(ctx context.Context) error {
			d.StopReading()
			// A pipe takes 64 KiB, and an upload is logged with about 1 KiB.
			for range 200 {
				if _, err := client.SendWhole(ctx, d.API, "dev", []byte(strings.Repeat("no archive", 10))); err != nil {
					return err
				}
			}
			return nil
		},
		end: func(context.Context) error { d.ResumeReading(); return nil },
	}, err
}

func filesRunOut(ctx context.Context, f *fleet) (*fault, error) {
	d, err := f.start(ctx, "files")
	limit := func(ctx context.Context, soft int) error {
		out, err := exec.CommandContext(ctx, "prlimit", fmt.Sprintf("--pid=%d", d.PID()), fmt.Sprintf("--nofile=%d:", soft)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("prlimit: %w: %s", err, out)
		}
		return nil
	}
	least := 1 << 20 // open files
	return &fault{
		what: "the limit of open files is lowered to a fifth above what is open", alerts: []string{"SpillwayFiles"}, at: d,
		ready: func(ctx context.Context) error {
			// Connections of the first probe are closed after 90 s.
			settled := time.Now().Add(2 * time.Minute)
			return until(ctx, func() bool {
				open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
				if err == nil {
					least = min(least, len(open))
				}
				return time.Now().After(settled)
			})
		},
		begin: func(ctx context.Context) error { return limit(ctx, least*12/10) },
		end:   func(ctx context.Context) error { return limit(ctx, 1024) },
	}, err
}

// lastInstance is a fault of the only instance that Prometheus watches.
func (f *fleet) lastInstance(alone *daemon.Daemon, by *prometheus) *fault {
	return &fault{
		what: "the only instance is killed", alerts: []string{"SpillwayDown", "SpillwayAbsent"}, at: alone, by: by,
		begin: func(context.Context) error { return alone.Signal(syscall.SIGKILL) },
		end: func(ctx context.Context) error {
			_, err := f.start(ctx, "alone-again", "--admin-listen="+address(alone))
			return err
		},
	}
}

// tokensFile makes a tokens file with a token.
func (f *fleet) tokensFile(ctx context.Context, name string, args ...string) (path string, err error) {
	path = filepath.Join(f.folder, name+".json")
	args = append([]string{"token", "create", "--tokens-file=" + path, "--email=a@example.com"}, args...)
	if out, err := exec.CommandContext(ctx, f.binary, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// edited returns a fault of an instance whose tokens file gets another content.
func edited(ctx context.Context, f *fleet, name string, other func(path string) ([]byte, error)) (*fault, error) {
	path, err := f.tokensFile(ctx, name)
	if err != nil {
		return nil, err
	}
	good, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d, err := f.startWithTokens(ctx, name, path)
	return &fault{
		at: d,
		begin: func(context.Context) error {
			text, err := other(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, text, 0o600)
		},
		end: func(context.Context) error { return os.WriteFile(path, good, 0o600) },
	}, err
}

func tokensFileIsInvalid(ctx context.Context, f *fleet) (*fault, error) {
	p, err := edited(ctx, f, "stale", func(string) ([]byte, error) { return []byte("garbage"), nil })
	if err != nil {
		return nil, err
	}
	p.what, p.alerts = "the tokens file becomes invalid", []string{"SpillwayTokensStale"}
	return p, nil
}

func tokensAreGone(ctx context.Context, f *fleet) (*fault, error) {
	p, err := edited(ctx, f, "revoked", func(string) ([]byte, error) { return []byte(`{"tokens": []}`), nil })
	if err != nil {
		return nil, err
	}
	p.what, p.alerts = "all tokens are revoked", []string{"SpillwayNoToken"}
	return p, nil
}

func tokenExpires(ctx context.Context, f *fleet) (*fault, error) {
	p, err := edited(ctx, f, "expiring", func(path string) ([]byte, error) {
		if _, err := f.tokensFile(ctx, "expiring", "--expires-in=100h"); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	})
	if err != nil {
		return nil, err
	}
	p.what, p.alerts = "a token expires in four days", []string{"SpillwayTokensExpire"}
	return p, nil
}

func upstreamIsDown(ctx context.Context, f *fleet) (*fault, error) {
	upstream := tecken.New(map[string]tecken.Token{"known": {Email: "b@example.com", Expires: time.Now().Add(time.Hour)}})
	server := httptest.NewServer(upstream)
	f.atEnd(func() error { server.CloseClientConnections(); server.Close(); return nil })
	d, err := f.start(ctx, "upstream", "--tokens-upstream="+server.URL)
	return &fault{
		what: "the server of `--tokens-upstream` answers 500", alerts: []string{"SpillwayTokensUpstreamDown"}, at: d,
		begin: func(context.Context) error {
			upstream.SetFault(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
			return nil
		},
		end: func(context.Context) error { upstream.SetFault(nil); return nil },
	}, err
}
