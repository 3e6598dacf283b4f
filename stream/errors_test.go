package stream_test

import (
	"testing"

	"spillway/stream"
)

// TestQuotaErrorSaysWhatIsShort: of a quota what is in use, of free space what is free.
func TestQuotaErrorSaysWhatIsShort(t *testing.T) {
	for want, err := range map[string]*stream.QuotaError{
		"stream: no room on disk: quota of all uploads: 100 bytes, 90 in use, 20 more needed": {Quota: stream.ProcessQuota, Limit: 100, InUse: 90, Need: 20},
		"stream: no room on disk: quota of one upload: 100 bytes, 90 in use, 20 more needed":  {Quota: stream.UploadQuota, Limit: 100, InUse: 90, Need: 20},
		"stream: no room on disk: 100 bytes have to stay free, 110 are free, 20 more needed":  {Quota: stream.FreeSpace, Limit: 100, Free: 110, Need: 20},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
