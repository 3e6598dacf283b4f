package health

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ours is what the names of functions of this program begin with; "main." in
// the program itself.
const ours = "spillway/"

// parseStack reads what [runtime/debug.Stack] has written in a function that
// recovered a panic. It returns the frames up to the panic, the outermost
// first, and the function of ours that was nearest to it, which tells panics
// apart.
func parseStack(stack []byte) (frames []frame, place string) {
	lines := strings.Split(string(stack), "\n")
	for i := 0; i+1 < len(lines); i++ {
		location, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(lines[i], "created by "), " in goroutine ")
		if strings.HasPrefix(name, "panic(") {
			frames, place = nil, "" // what came before is how it was recovered
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

// frame is a call in a stack.
type frame struct {
	module, function string // the package's path, and the name in it
	path, file       string // of the source
	line             int    // zero if it is not known
	ours             bool
}

// newFrame reads a function's name with its arguments, and its file and line.
func newFrame(name, location string) frame {
	if i := strings.LastIndex(name, "("); i > 0 && strings.HasSuffix(name, ")") {
		name = name[:i]
	}
	f := frame{function: name, ours: strings.HasPrefix(name, ours) || strings.HasPrefix(name, "main.")}
	// The package is what is before the first dot behind the last slash.
	base := strings.LastIndex(name, "/") + 1
	if module, function, ok := strings.Cut(name[base:], "."); ok {
		f.module, f.function = name[:base]+module, function
	}
	f.path, _, _ = strings.Cut(location, " +0x")
	if i := strings.LastIndex(f.path, ":"); i >= 0 {
		f.line, _ = strconv.Atoi(f.path[i+1:]) // zero where it is none
		f.path = f.path[:i]
	}
	f.file = filepath.Base(f.path)
	return f
}
