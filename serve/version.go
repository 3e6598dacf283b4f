package serve

import (
	"cmp"
	"runtime/debug"

	"spillway/health"
)

// The linker sets these, with -X spillway/serve.version=… and so on. Those that are
// not set come from the build information that the toolchain puts into the binary.
var (
	source  string // URL of the source's repository
	version string // of the release
	commit  string // the full hash of the source's commit
	build   string // names the build, such as the URL of the job that made it
)

// Version returns which Spillway this is.
func Version() health.Version {
	v := health.Version{Source: source, Version: version, Commit: commit, Build: build}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Source = cmp.Or(v.Source, info.Main.Path)
		v.Version = cmp.Or(v.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = cmp.Or(v.Commit, s.Value)
			}
		}
		v.Build = cmp.Or(v.Build, info.GoVersion)
	}
	v.Version = cmp.Or(v.Version, "(devel)")
	return v
}
