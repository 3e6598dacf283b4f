package main

import (
	"archive/zip"
	"bytes"
	"slices"
	"strings"

	"spillway/testdata/archive"
)

// wrongShape returns in what an archive of these files, which Spillway takes, is not of its
// variant.
func wrongShape(v variant, content []byte, files []archive.File) (wrong []string) {
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return []string{"archive/zip: " + err.Error()}
	}
	folders, zip64 := false, bytes.Contains(content, []byte("PK\x06\x06"))
	for _, f := range z.File {
		folders = folders || strings.HasSuffix(f.Name, "/")
		// Python and Rust have a zip64 extra field first after the name, and no end record.
		zip64 = zip64 || bytes.Contains(content, []byte(f.Name+"\x01\x00"))
		if strings.HasPrefix(v.mode, modeStored) && f.Method != zip.Store {
			wrong = append(wrong, f.Name+" is not stored")
		}
	}
	if strings.HasPrefix(v.mode, modeZip64) && !zip64 {
		wrong = append(wrong, "it has no zip64 records")
	}
	if !folders && slices.ContainsFunc(files, func(f archive.File) bool { return strings.HasSuffix(f.Name, "/") }) {
		wrong = append(wrong, "it has no folders")
	}
	return wrong
}
