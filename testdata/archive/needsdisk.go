package archive

// NeedsDisk returns an archive of about size bytes that has to be spilled.
func NeedsDisk(seed uint64, size int64) Archive {
	return SpillLayouts[0].Lay(Mixed(seed, size))
}
