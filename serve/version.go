package serve

import (
	"cmp"
	"runtime/debug"

	"spillway/health"
)

// The linker sets these: -X spillway/serve.version=… and so on. [Version] fills the
// unset ones from the build information in the binary.
var (
	source  string // URL of the repository
	version string // of the release
	commit  string // full hash
	build   string // names the build, such as the URL of its CI job
)

// Version returns the version of this binary.
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
