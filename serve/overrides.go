package serve

import (
	"time"

	"spillway/s3sink"
	"spillway/stream/budget"
)

// overrides replace parts and periods of a service in tests. Zero fields change nothing.
type overrides struct {
	openDisk       func(path string) (budget.Disk, error) // opens the disk of --spill-dir; default [budget.OpenDisk]
	adjustStore    func(*s3sink.Config)                   // changes the configuration of the store
	pressureWindow time.Duration                          // how long troubles of the disk count; default 2 min
	outcomeWindow  time.Duration                          // how long outcomes of uploads count; default 5 min
	probeLife      time.Duration                          // how long the heartbeat keeps a probe of the store; default 10 s
	spillHang      time.Duration                          // when a disk call counts as hanging; default 5 s
}
