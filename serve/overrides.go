package serve

import (
	"time"

	"spillway/s3sink"
	"spillway/stream/budget"
)

// overrides replace parts and periods of a service in tests. The zero value
// replaces nothing.
type overrides struct {
	// openDisk opens the disk of --spill-dir; nil: [budget.OpenDisk]. Tests have
	// disks that fail.
	openDisk func(path string) (budget.Disk, error)

	// adjustStore changes how the store is used; nil: not at all. Tests have less
	// patience with it.
	adjustStore func(*s3sink.Config)

	// pressureWindow is how long troubles of the disk count; 0: two minutes.
	// Tests have less time.
	pressureWindow time.Duration

	// outcomeWindow is how long outcomes of uploads count for the heartbeat; 0: five
	// minutes. Tests have less time.
	outcomeWindow time.Duration

	// probeLife is how long the heartbeat keeps what it has seen of the store; 0: ten
	// seconds. Tests have less time.
	probeLife time.Duration

	// spillHang is how long a call of the disk may take before it hangs; 0: 5 s.
	// Tests have less time.
	spillHang time.Duration
}
