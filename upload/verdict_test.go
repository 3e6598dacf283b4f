package upload

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"spillway/internal/outcome"
	"spillway/stream"
	"spillway/stream/budget"
)

// TestVerdictsOnTheDisk checks the verdicts on the disk's errors. If a retry may help, the
// answer is a 503. Messages name the setting, its value and its use.
func TestVerdictsOnTheDisk(t *testing.T) {
	quota := func(q budget.Quota, never bool) *budget.QuotaError {
		return &budget.QuotaError{Quota: q, Limit: 1 << 20, InUse: 1000, Need: 2000, Never: never}
	}
	for _, tt := range []struct {
		name    string
		err     error
		status  int
		outcome outcome.Outcome
		says    []string
	}{
		{"never in the quota", quota(budget.ProcessQuota, true), 413, outcome.Refused, []string{"--spill-quota", "1048576 bytes", "1000 bytes", "2000 bytes"}},
		{"never in the upload's quota", quota(budget.UploadQuota, true), 413, outcome.Refused, []string{"--spill-upload-quota", "1048576 bytes"}},
		{"no disk", &budget.QuotaError{Quota: budget.ProcessQuota, Never: true}, 413, outcome.Refused, []string{"--spill-quota, which is 0"}},
		{"not now in the quota", quota(budget.ProcessQuota, false), 503, outcome.Refused, []string{"--spill-quota", "1048576 bytes", "1000 bytes", "safe"}},
		{"not now in the upload's quota", quota(budget.UploadQuota, false), 503, outcome.Refused, []string{"--spill-upload-quota", "safe"}},
		{"too little free", &budget.QuotaError{Quota: budget.FreeSpace, Limit: 1 << 20, Free: 1000, Need: 2000}, 503, outcome.Refused, []string{
			"1000 B (1000 bytes) are free", "2.0 KiB (2000 bytes) more", "--spill-min-free keeps 1.0 MiB (1048576 bytes) free", "safe",
		}},
		{"a full disk", &budget.DiskError{Op: "allocate", Err: syscall.ENOSPC}, 503, outcome.Failed, []string{"disk", "safe"}},
		{"a broken disk", &budget.DiskError{Op: "read", Err: syscall.EIO}, 503, outcome.Failed, []string{"disk", "safe"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reason := "there are bytes between its entries"
			wrapped := &stream.SpillError{Reason: reason, Err: tt.err}
			for _, err := range []error{wrapped, fmt.Errorf("reading: %w", wrapped)} {
				v := verdictOn(err)
				if v.status != tt.status || v.outcome != tt.outcome {
					t.Errorf("%v: %+v", err, v)
				}
				wantSaid(t, v, tt.says)
				if v.status == http.StatusRequestEntityTooLarge && !strings.Contains(v.message, reason) {
					t.Errorf("%q does not say why the disk was wanted", v.message)
				}
			}
		})
	}
	failed := errors.Join(&stream.StoreError{Op: "PutObject", Err: &budget.DiskError{Op: "read", Err: syscall.EIO}})
	if v := verdictOn(failed); !strings.Contains(v.message, "disk") {
		t.Errorf("a body that cannot be read is said to be the store's failure: %q", v.message)
	}
}

// TestVerdictsOnMemory checks that a retry is asked for if other uploads take the memory,
// and not if the archive needs too much.
func TestVerdictsOnMemory(t *testing.T) {
	for _, tt := range []struct {
		err    *budget.NoRoomError
		status int
		says   []string
	}{
		{&budget.NoRoomError{What: "memory for a part", Limit: 64 << 20, InUse: 64 << 20}, 503, []string{"memory for a part", "safe"}},
		{&budget.NoRoomError{What: "memory for a decoder", Limit: 64 << 20, InUse: 1 << 20, Never: true}, 413, []string{"memory for a decoder", "--memory", "67108864 bytes", "Split"}},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("reading: %w", tt.err)} {
			v := verdictOn(err)
			if v.status != tt.status || v.outcome != outcome.Refused {
				t.Errorf("%v: %+v", err, v)
			}
			wantSaid(t, v, tt.says)
		}
	}
}

func wantSaid(t *testing.T, v verdict, says []string) {
	t.Helper()
	for _, want := range says {
		if !strings.Contains(v.message, want) {
			t.Errorf("%q does not say %q", v.message, want)
		}
	}
}
