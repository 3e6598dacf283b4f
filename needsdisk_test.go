package main

import "spillway/testdata/archive"

// needsDisk is an archive of about size bytes that has to be held, and is too
// large for memory.
func needsDisk(seed uint64, size int64) archive.Archive {
	return archive.Layouts[0].Lay(archive.Mixed(seed, size))
}
