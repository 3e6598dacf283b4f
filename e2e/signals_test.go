package e2e

import (
	"syscall"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

func sendSignal(t *testing.T, s system, sig syscall.Signal) {
	t.Helper()
	if err := s.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// large returns an archive whose entry is stored in several parts.
func large() (name string, zip []byte) {
	name = archive.SymbolsName(1) + ".dbg"
	return name, archive.Build(archive.Entry{Name: name, Data: archive.Noise(1, 60<<20)})
}

func TestIdleProcessEndsOnASignal(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := startEmbedded(t)
			if got := client.Get(t, s.API+"/__lbheartbeat__").Status; got != 200 {
				t.Errorf("heartbeat %d, want 200", got)
			}
			sendSignal(t, s, sig)
			wantExit(t, s.Daemon, statusDone)
		})
	}
}

// After SIGTERM, an upload under way is finished, and others are refused.
func TestUploadUnderWayIsFinished(t *testing.T) {
	t.Parallel()
	s := startBeside(t)
	name, zip := large()
	u := client.SendHalfAndWait(t, s.API, zip)
	sendSignal(t, s, syscall.SIGTERM)
	awaitLog(t, s.Daemon, "shutting down")

	if got := client.Get(t, s.API+"/__lbheartbeat__").Status; got != 503 {
		t.Errorf("heartbeat %d, want 503", got)
	}
	if a := client.MustSend(t, s.API, "dev", zip); a.Status != 503 {
		t.Errorf("another upload: %+v, want 503", a)
	}
	s.WantStored(t, "v1/", nil)

	close(u.Rest)
	if a := u.Wait(t); a.Status != 201 {
		t.Errorf("%+v, want 201", a)
	}
	wantExit(t, s.Daemon, statusDone)
	if keys := s.Keys(t); len(keys) != 1 || keys[0] != "v1/"+name {
		t.Errorf("the bucket holds %q", keys)
	}
	s.WantNoUploads(t)
}

// During --drain-delay, uploads are still accepted.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	s := startBeside(t, "--drain-delay=1h")
	sendSignal(t, s, syscall.SIGTERM)
	awaitLog(t, s.Daemon, "shutting down")
	client.AwaitStatus(t, s.API+"/__lbheartbeat__", 503)
	if a := client.MustSend(t, s.API, "dev", archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 10_000)})); a.Status != 201 {
		t.Errorf("%+v, want 201", a)
	}
	sendSignal(t, s, syscall.SIGTERM)
	wantExit(t, s.Daemon, statusCutShort)
}

// An upload that takes longer than --drain-timeout is aborted and leaves nothing.
func TestUploadThatStallsIsAborted(t *testing.T) {
	t.Parallel()
	s := startBeside(t, "--drain-timeout=100ms")
	_, zip := large()
	u := client.SendHalfAndWait(t, s.API, zip)
	sendSignal(t, s, syscall.SIGTERM)
	if a := u.Wait(t); a.Status != 503 {
		t.Errorf("%+v, want 503", a)
	}
	wantExit(t, s.Daemon, statusUnfinished)
	s.WantNothing(t)
}

// A second signal ends the process at once.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := startBeside(t)
	_, zip := large()
	u := client.SendHalfAndWait(t, s.API, zip)
	sendSignal(t, s, syscall.SIGTERM)
	awaitLog(t, s.Daemon, "shutting down")
	sendSignal(t, s, syscall.SIGINT)
	wantExit(t, s.Daemon, statusCutShort)
	close(u.Rest)
	if err := <-u.Err; err == nil {
		t.Errorf("answer %+v, want a broken connection", <-u.Answer)
	}
}
