package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"spillway/testdata/archive"
)

// The modes of a script.
const (
	modeFile       = "file"
	modePipe       = "pipe" // to standard output, which is a pipe
	modeZip64      = "zip64"
	modeZip64Pipe  = "zip64-pipe"
	modeStored     = "stored"
	modeStoredPipe = "stored-pipe"
	modeUpdate     = "update" // of an archive that is there
)

// variant is a kind of archive.
type variant struct {
	name     string
	mode     string
	files    []archive.File
	folders  bool // also the folders of the files, if the writer adds folders
	streamed bool // for modeUpdate: another writer has streamed the archive that is updated
}

// plain are files of a build: symbols, a library, a program, and a list that is ignored.
var plain = []archive.File{
	symbols(1, 200_000),
	symbols(2, 3_000),
	{Name: "nss3.dll/5F1E0C3A42000/nss3.dll", Data: slices.Concat(archive.Symbols(3, 40_000), archive.Noise(3, 20_000))},
	{Name: "firefox.exe/64AB01F2a5000/firefox.exe", Data: archive.Noise(4, 30_000)},
	{Name: "target-symbols.txt", Data: []byte("libatom1.so\n")},
}

var (
	empty = []archive.File{
		{Name: "libempty.so/00A1/libempty.so.sym"},
		{Name: "empty.dll/00A2/empty.dll"},
	}
	names = []archive.File{
		{Name: "библиотека.so/00B1/библиотека.so.sym", Data: archive.Symbols(5, 3_000)},
		{Name: "漢字😀.dll/00B2/漢字😀.dll", Data: archive.Noise(6, 3_000)},
	}
	folderName = []archive.File{{Name: "données/"}}

	everything = slices.Concat(plain, empty)
)

// What an update changes in the plain tree.
var (
	added    = archive.File{Name: "added.dll/00C1/added.dll", Data: archive.Noise(7, 5_000)}
	replaced = archive.File{Name: plain[1].Name, Data: archive.Symbols(8, 5_000)}
	deleted  = plain[2].Name
)

var variants = []variant{
	{name: "plain", mode: modeFile, files: plain},
	{name: "pipe", mode: modePipe, files: everything, folders: true},
	{name: "zip64", mode: modeZip64, files: everything, folders: true},
	{name: "zip64, pipe", mode: modeZip64Pipe, files: everything, folders: true},
	{name: "stored", mode: modeStored, files: everything, folders: true},
	{name: "stored, pipe", mode: modeStoredPipe, files: everything, folders: true},
	{name: "empty files", mode: modeFile, files: everything},
	{name: "folders", mode: modeFile, files: withFolders(plain)},
	{name: "file names", mode: modeFile, files: slices.Concat(plain, names)},
	{name: "folder names", mode: modeFile, files: slices.Concat(withFolders(plain), folderName)},
	{name: "updated", mode: modeUpdate, files: plain},
	{name: "streamed, updated", mode: modeUpdate, files: plain, streamed: true},
}

func symbols(seed uint64, size int) archive.File {
	return archive.File{Name: archive.SymbolsName(seed), Data: archive.Symbols(seed, size)}
}

// withFolders returns files, and the folders that they are in before each of them.
func withFolders(files []archive.File) (all []archive.File) {
	seen := map[string]bool{}
	for _, f := range files {
		for i, c := range f.Name {
			if folder := f.Name[:i+1]; c == '/' && !seen[folder] {
				seen[folder] = true
				all = append(all, archive.File{Name: folder})
			}
		}
		all = append(all, f)
	}
	return all
}

// When the files of a tree were changed, and those that an update replaces: Ant replaces newer
// files only.
var (
	changed      = time.Date(2026, 7, 1, 12, 30, 0, 0, time.UTC)
	changedLater = changed.Add(time.Hour)
)

// lay writes files into a folder. They were changed at that time.
func lay(folder string, files []archive.File, when time.Time) error {
	for _, f := range files {
		path := filepath.Join(folder, filepath.FromSlash(f.Name))
		if strings.HasSuffix(f.Name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(path, when, when); err != nil {
			return err
		}
	}
	return nil
}

// update returns the names that a writer is to add to the plain tree or to replace in it, the
// name that it is to delete, and the files that there are then.
func (w writer) update() (change []archive.File, remove string, after []archive.File) {
	change, after = []archive.File{added}, append(slices.Clone(plain), added)
	if w.updates.replace {
		change = append(change, replaced)
		after[1] = replaced
	}
	if w.updates.delete {
		remove = deleted
		after = slices.DeleteFunc(after, func(f archive.File) bool { return f.Name == deleted })
	}
	return change, remove, after
}
