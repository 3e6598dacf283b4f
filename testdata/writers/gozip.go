package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// goWriter is the argument that has this program write an archive, as the scripts do.
const goWriter = "archive/zip"

// writeGo writes an archive with archive/zip. The arguments are those of a script.
func writeGo(args []string) (err error) {
	mode, path, names := args[0], args[1], args[2:]
	if mode == modeUpdate {
		return updateGo(path, names)
	}
	out := os.Stdout
	if mode != modePipe && mode != modeStoredPipe {
		if out, err = os.Create(path); err != nil {
			return err
		}
	}
	w := zip.NewWriter(out)
	err = addGo(w, mode, names)
	return errors.Join(err, w.Close(), out.Close())
}

// updateGo copies what stays into a new archive, which takes the old one's place.
func updateGo(path string, names []string) (err error) {
	old, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	out, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	w := zip.NewWriter(out)
	for _, f := range old.File {
		if f.Name == os.Getenv("DELETE") || slices.Contains(names, f.Name) {
			continue
		}
		if err := w.Copy(f); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	if err := errors.Join(addGo(w, modeUpdate, names), w.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func addGo(w *zip.Writer, mode string, names []string) error {
	for _, name := range names {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		if strings.HasPrefix(mode, modeStored) {
			h.Method = zip.Store
		}
		entry, err := w.CreateHeader(h)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := copyFile(entry, name); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}
