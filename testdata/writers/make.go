package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"spillway/testdata/archive"
)

// scriptTimeout is how long a script may take.
const scriptTimeout = 2 * time.Minute

// maker runs the scripts of writers.
type maker struct {
	self     string // path of this program
	home     string // folder of the scripts, absolute
	build    string // folder of compiled scripts
	trees    string
	archives string
}

// newMaker returns a maker that works in folder. archives is where it keeps the archives; if
// empty, in folder.
func newMaker(folder, archives string) (*maker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return nil, err
	}
	m := &maker{self: self, home: home, build: filepath.Join(folder, "build"), trees: filepath.Join(folder, "trees"), archives: archives}
	if m.archives == "" {
		m.archives = filepath.Join(folder, "archives")
	}
	for _, f := range []string{m.build, m.trees, m.archives} {
		if err := os.MkdirAll(f, 0o755); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// prepare compiles w's script, if need be, and returns w's version.
func (m *maker) prepare(ctx context.Context, w writer) (version string, err error) {
	script := filepath.Join(m.home, "scripts", w.script)
	switch filepath.Ext(w.script) {
	case ".java":
		err = shell(ctx, m.home, fmt.Sprintf("javac -cp '%s' -d '%s' '%s'", w.libraries, m.build, script))
	case ".cs":
		err = shell(ctx, m.home, fmt.Sprintf("mcs -nologo -r:%s -out:'%s' '%s'", w.libraries, m.program(w, ".exe"), script))
	case ".rs":
		// cargo writes a lock file beside the source.
		source := filepath.Join(m.build, "rust")
		if err = os.CopyFS(source, os.DirFS(filepath.Join(m.home, "rust"))); err == nil {
			err = shell(ctx, source, "cargo build --quiet --release --offline")
		}
	}
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "/bin/sh", "-c", w.version)
	command.Dir = m.home
	out, err := command.Output()
	if version = strings.TrimSpace(string(out)); err == nil && version == "" {
		err = errors.New("it prints nothing")
	}
	if err != nil {
		return "", fmt.Errorf("asking for the version: %w", err)
	}
	return version, nil
}

// program is the path of the program that w's script is compiled to.
func (m *maker) program(w writer, extension string) string {
	return filepath.Join(m.build, strings.TrimSuffix(w.script, filepath.Ext(w.script))+extension)
}

// command returns the command that runs w's script.
func (m *maker) command(w writer) []string {
	script := filepath.Join(m.home, "scripts", w.script)
	switch filepath.Ext(w.script) {
	case ".sh":
		return []string{"/bin/sh", script}
	case ".py":
		return []string{"/usr/bin/python3", script} // Debian's, which has Debian's packages
	case ".pl":
		return []string{"perl", script}
	case ".rb":
		return []string{"ruby", script}
	case ".php":
		return []string{"php", script}
	case ".js":
		return []string{"node", filepath.Join(m.home, "node", w.script)}
	case ".java":
		class := strings.TrimSuffix(w.script, ".java")
		return []string{"java", "-XX:TieredStopAtLevel=1", "-cp", m.build + ":" + w.libraries, class}
	case ".cs":
		return []string{"mono", m.program(w, ".exe")}
	case ".rs":
		return []string{filepath.Join(m.build, "rust", "target", "release", "writer")}
	}
	return []string{m.self, goWriter}
}

// write has w write the archive of a variant, and returns the files that are in it.
func (m *maker) write(ctx context.Context, w writer, v variant) (content []byte, files []archive.File, err error) {
	files = v.files
	if v.folders && w.folders() {
		files = withFolders(files)
	}
	path := filepath.Join(m.archives, strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(w.name+" "+v.name+".zip"))
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	if v.mode == modeUpdate {
		files, err = m.update(ctx, w, v, path)
	} else {
		err = m.run(ctx, w, v.mode, path, files, "")
	}
	if err != nil {
		return nil, nil, err
	}
	content, err = os.ReadFile(path)
	return content, files, err
}

// update has w update an archive, and returns the files that are in it then.
func (m *maker) update(ctx context.Context, w writer, v variant, path string) (after []archive.File, err error) {
	if v.streamed {
		err = os.WriteFile(path, archive.GoWriter(v.files...), 0o644)
	} else {
		err = m.run(ctx, w, modeFile, path, v.files, "")
	}
	if err != nil {
		return nil, err
	}
	changes, remove, after := w.update()
	return after, m.run(ctx, w, modeUpdate, path, changes, remove)
}

// run runs w's script over a tree of these files. The script writes or updates the archive at
// path, or writes it to a pipe.
func (m *maker) run(ctx context.Context, w writer, mode, path string, files []archive.File, remove string) (err error) {
	tree, err := os.MkdirTemp(m.trees, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	when := changed
	if mode == modeUpdate {
		when = changedLater
	}
	if err := lay(tree, files, when); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, scriptTimeout)
	defer cancel()
	args := append(m.command(w), mode, path)
	for _, f := range files {
		args = append(args, f.Name)
	}
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Dir = tree
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DELETE="+remove)
	command.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s%s", w.script, mode, err, stdout.Bytes(), stderr.Bytes())
	}
	if strings.HasSuffix(mode, modePipe) {
		return os.WriteFile(path, stdout.Bytes(), 0o644)
	}
	return nil
}
