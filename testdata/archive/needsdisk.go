package archive

// NeedsDisk is an archive of about size bytes that has to be held, and is too
// large for memory.
func NeedsDisk(seed uint64, size int64) Archive {
	return SpillLayouts[0].Lay(Mixed(seed, size))
}
