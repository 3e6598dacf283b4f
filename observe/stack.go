package observe

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ours is the prefix of this program's function names. Package main has "main.".
const ours = "spillway/"

// parseStack parses the stack of a recovered panic, as [runtime/debug.Stack] returns
// it. It returns the frames up to the panic, the outermost first, and our function
// nearest to the panic. That function identifies the panic.
func parseStack(stack []byte) (frames []frame, place string) {
	lines := strings.Split(string(stack), "\n")
	for i := 0; i+1 < len(lines); i++ {
		location, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(lines[i], "created by "), " in goroutine ")
		if strings.HasPrefix(name, "panic(") {
			frames, place = nil, "" // the frames before are those of the recovery
			continue
		}
		f := newFrame(name, location)
		if f.ours && place == "" {
			place = f.module + "." + f.function
		}
		frames = append(frames, f)
	}
	slices.Reverse(frames)
	return frames, place
}

// frame is one call of a stack.
type frame struct {
	module, function string // package path, and name in the package
	path, file       string // of the source
	line             int    // zero if unknown
	ours             bool
}

// newFrame parses a function's name with its arguments, and its file and line.
func newFrame(name, location string) frame {
	if i := strings.LastIndex(name, "("); i > 0 && strings.HasSuffix(name, ")") {
		name = name[:i]
	}
	f := frame{function: name, ours: strings.HasPrefix(name, ours) || strings.HasPrefix(name, "main.")}
	// The package path ends at the first dot after the last slash.
	base := strings.LastIndex(name, "/") + 1
	if module, function, ok := strings.Cut(name[base:], "."); ok {
		f.module, f.function = name[:base]+module, function
	}
	f.path, _, _ = strings.Cut(location, " +0x")
	if i := strings.LastIndex(f.path, ":"); i >= 0 {
		f.line, _ = strconv.Atoi(f.path[i+1:]) // zero if it is no number
		f.path = f.path[:i]
	}
	f.file = filepath.Base(f.path)
	return f
}
