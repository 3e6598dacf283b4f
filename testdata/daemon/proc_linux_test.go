package daemon

import (
	"os"
	"testing"
)

func TestUsageOfThisProcess(t *testing.T) {
	if err := ForgetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	u, err := UsageOf(os.Getpid())
	if err != nil || u.Peak < 1<<20 || u.Resident < 1<<20 || u.Resident > u.Peak {
		t.Errorf("%+v, error %v", u, err)
	}
}
