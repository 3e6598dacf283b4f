package e2e

import "testing"

// The start warns of settings that need more than the machine has.
func TestMachineThatIsTooSmall(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t, "--max-uploads=1000000000", "--spill-quota=1PiB", "--spill-dir="+t.TempDir())
	awaitLog(t, s.Daemon, `"level":"warn"`, "the limit of file descriptors is too low", `"needed":`)
	awaitLog(t, s.Daemon, `"level":"warn"`, "--spill-quota and --spill-min-free together", `"spill_quota":"1048576GiB"`)
}
