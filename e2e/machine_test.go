package e2e

import (
	"strings"
	"testing"
	"time"

	"spillway/testdata/client"
	"spillway/testdata/s3quirk"
)

// The start warns of settings that need more than the machine has.
func TestMachineThatIsTooSmall(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t, "--max-uploads=1000000000", "--spill-quota=1PiB", "--spill-dir="+t.TempDir())
	awaitLog(t, s.Daemon, `"level":"warn"`, "start check", `"check":"files"`, "limit of file descriptors is too low", "up to 30000", "ulimit -n")
	awaitLog(t, s.Daemon, `"level":"warn"`, "start check", `"check":"spill space"`, "--spill-quota (1048576GiB) and --spill-min-free (1GiB) together exceed the free space")
}

// The start does not wait for the store, and warns of the clock once the store has answered.
func TestStartWarnsOfTheClock(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	ahead := s3quirk.Before(t, b.Client, s3quirk.Clock(-3*time.Minute))
	d := start(t, b.credentials(), "--dev", "--s3-endpoint="+ahead, "--s3-bucket="+b.BucketName)
	awaitLog(t, d, `"level":"warn"`, "start check", `"check":"clock"`, "is 3m", "ahead of S3's", "NTP")
	client.GetHeartbeat(t, d.API)
	if n := strings.Count(d.Log(), `"check":"clock"`); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
}
