package serve

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// What the linker sets, with -X spillway/serve.version=… and so on. What it does not
// set is taken from what the toolchain recorded in the binary.
var (
	source  string // URL of the source's repository
	version string // of the release
	commit  string // the full hash of the source's commit
	build   string // names the build, such as the URL of the job that made it
)

// BuildInfo is which Spillway this is.
type BuildInfo struct {
	source, version, commit, build string
}

// ReadBuildInfo says which Spillway this is.
func ReadBuildInfo() BuildInfo {
	b := BuildInfo{source: source, version: version, commit: commit, build: build}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.source = cmp.Or(b.source, info.Main.Path)
		b.version = cmp.Or(b.version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.commit = cmp.Or(b.commit, s.Value)
			}
		}
		b.build = cmp.Or(b.build, info.GoVersion)
	}
	b.version = cmp.Or(b.version, "(devel)")
	return b
}

// String is what the version command prints.
func (b BuildInfo) String() string {
	return fmt.Sprintf("spillway %s commit %s build %s", b.version, cmp.Or(b.commit, "unknown"), cmp.Or(b.build, "unknown"))
}
