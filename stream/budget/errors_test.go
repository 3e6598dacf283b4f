package budget_test

import (
	"testing"

	"spillway/stream/budget"
)

// TestQuotaErrorSaysWhatIsShort: of a quota what is in use, of free space what is free.
func TestQuotaErrorSaysWhatIsShort(t *testing.T) {
	for want, err := range map[string]*budget.QuotaError{
		"budget: no room on disk: quota of all uploads: 100 bytes, 90 in use, 20 more needed": {Quota: budget.ProcessQuota, Limit: 100, InUse: 90, Need: 20},
		"budget: no room on disk: quota of one upload: 100 bytes, 90 in use, 20 more needed":  {Quota: budget.UploadQuota, Limit: 100, InUse: 90, Need: 20},
		"budget: no room on disk: 100 bytes have to stay free, 110 are free, 20 more needed":  {Quota: budget.FreeSpace, Limit: 100, Free: 110, Need: 20},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
