package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Split copies an archive's entries, in their order, into archives in a folder. As those of
// the official client, each ends with the entry that takes it to limit bytes or more.
func Split(s Sample, folder string, limit int64) (paths []string, err error) {
	z, err := zip.OpenReader(s.Path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	for left := z.File; len(left) > 0; {
		path := filepath.Join(folder, fmt.Sprintf("symbols-%d.zip", len(paths)))
		n, err := copyEntries(path, left, limit)
		if err != nil {
			return nil, err
		}
		paths, left = append(paths, path), left[n:]
	}
	return paths, nil
}

// copyEntries makes an archive of the first of these files, until it has limit bytes. It
// returns how many it has.
func copyEntries(path string, files []*zip.File, limit int64) (n int, err error) {
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z := zip.NewWriter(out)
	for at := int64(0); n < len(files) && at < limit; n++ {
		if err := z.Copy(files[n]); err != nil {
			return n, err
		}
		if err := z.Flush(); err != nil {
			return n, err
		}
		if at, err = out.Seek(0, io.SeekCurrent); err != nil {
			return n, err
		}
	}
	return n, z.Close()
}
