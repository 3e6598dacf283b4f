package main

import (
	"slices"
	"strings"
)

// writer is a program or library that writes zip archives.
type writer struct {
	name string

	// script is the file in scripts (if .js, in node; if .rs, in rust) that has it write
	// an archive. It gets a mode, the archive's path and the names to add, in the
	// current folder. Names of folders end in a slash. To update an archive, it adds or
	// replaces these, and then deletes $DELETE. Empty: this program.
	script string

	libraries string // class path or references of a compiled script
	version   string // shell command that prints its version

	cannot  string  // names of variants that it cannot write, separated by semicolons
	updates updates // what it does to an archive in place

	// refused says which variants Spillway refuses, and why.
	refused map[string]*refusal
}

// refusal is why Spillway refuses an honest writer's archives.
type refusal struct {
	says string // part of the answer's error or detail
	why  string // which rule justifies it
}

var (
	unmarkedName = &refusal{
		"its name has bytes outside ASCII but is not marked as UTF-8",
		"Flag 11 is off. Go reads such a name as UTF-8, Python as code page 437. Info-ZIP sets the flag with `-UN=UTF8` and the locale en_US.UTF-8.",
	}
	directoryFlags = &refusal{
		"its local header and its central directory header disagree on its flags",
		"The writer keeps the local headers and their data descriptors, but changes flag 3 (fastjar, Rust zip) or 11 (Archive::Zip) in the directory. " +
			"7-Zip reports an error for flag 3.",
	}
	lostDirectory = &refusal{
		"its central directory is not where its end record states",
		"The end record refers to a zip64 record that the writer does not write. Python, Go, unzip, 7-Zip and bsdtar cannot read the archive.",
	}
	lostOffsets = &refusal{
		"its zip64 sizes are missing or out of range",
		"To a pipe, the writer states the offset 0xffffffff of each entry and of the directory. Python sees an empty archive. Go, unzip and 7-Zip cannot read it.",
	}
)

// updates are the changes that a writer makes to an archive.
type updates struct{ add, replace, delete bool }

var allUpdates = updates{add: true, replace: true, delete: true}

func (u updates) String() string {
	switch {
	case u == allUpdates:
		return "yes"
	case u.replace:
		return "yes (adds, replaces)"
	}
	return "yes (adds)"
}

// can reports whether w writes archives of that variant.
func (w writer) can(v variant) bool {
	if v.mode == modeUpdate && w.updates == (updates{}) {
		return false
	}
	return !slices.Contains(strings.Split(w.cannot, "; "), v.name)
}

// folders reports whether w adds folders.
func (w writer) folders() bool { return !slices.Contains(strings.Split(w.cannot, "; "), "folders") }

// Commands that print a version: of Info-ZIP's zip, of a Debian package, and of an npm package.
const (
	infozip = "zip -v | sed -n 's/^This is Zip \\([0-9.]*\\).*/\\1/p'"
	debian  = "dpkg-query -W -f '${source:Upstream-Version}' "
	npm     = "node -p 'require(process.argv[1]).version' ./node/node_modules/"
)

var writers = []writer{
	{
		name: "Info-ZIP zip", script: "infozip.sh", version: infozip,
		updates: allUpdates,
		refused: map[string]*refusal{"zip64, pipe": lostDirectory, "file names": unmarkedName},
	},
	{
		name: "Info-ZIP zip -UN=UTF8", script: "infozip_utf8.sh", version: infozip,
		updates: allUpdates,
		refused: map[string]*refusal{"zip64, pipe": lostDirectory},
	},
	{
		name: "7-Zip", script: "sevenzip.sh", version: "7zz i | sed -n 's/^7-Zip (z) \\([0-9.]*\\).*/\\1/p'",
		cannot: "zip64; zip64, pipe; stored, pipe", updates: allUpdates,
	},
	{
		name: "libarchive bsdtar", script: "bsdtar.sh", version: "bsdtar --version | sed 's/^bsdtar \\([0-9.]*\\).*/\\1/'",
	},
	{
		name: "AdvanceCOMP advzip", script: "advzip.sh", version: debian + "advancecomp",
		cannot:  "pipe; zip64; zip64, pipe; stored, pipe; folders; folder names",
		refused: map[string]*refusal{"file names": unmarkedName},
	},
	{
		name: "zlib minizip", script: "minizip.sh", version: debian + "minizip",
		cannot:  "pipe; zip64; zip64, pipe; stored, pipe; folders; folder names",
		updates: updates{add: true},
		refused: map[string]*refusal{"file names": unmarkedName},
	},
	{
		name: "libzip ziptool", script: "ziptool.sh", version: debian + "ziptool",
		cannot: "pipe; zip64; zip64, pipe; stored, pipe", updates: allUpdates,
	},
	{
		name: "libgsf gsf", script: "gsf.sh", version: "gsf --version | sed 's/.* //'",
		cannot:  "pipe; zip64; zip64, pipe; stored; stored, pipe; folders; folder names",
		refused: map[string]*refusal{"file names": unmarkedName},
	},
	{
		name: "git archive", script: "gitarchive.sh", version: "git --version | sed 's/.* //'",
		cannot: "zip64; zip64, pipe; folder names",
	},
	{
		name: "JDK jar", script: "jar.sh", version: "jar --version | sed 's/.* //'",
		cannot: "zip64; zip64, pipe", updates: updates{add: true, replace: true},
	},
	{
		name: "JDK ZipOutputStream", script: "ZipStreams.java", version: "jar --version | sed 's/.* //'",
		cannot: "zip64; zip64, pipe",
	},
	{
		name: "JDK zip file system", script: "ZipFs.java", version: "jar --version | sed 's/.* //'",
		cannot: "pipe; zip64, pipe; stored, pipe", updates: allUpdates,
	},
	{
		name: "Apache Commons Compress", script: "CommonsCompress.java", libraries: "/usr/share/java/commons-compress.jar",
		version: debian + "libcommons-compress-java",
	},
	{
		name: "Apache Ant zip", script: "ant.sh", version: "ant -version | sed 's/.*version \\([0-9.]*\\) .*/\\1/'",
		cannot: "pipe; zip64, pipe; stored, pipe", updates: updates{add: true, replace: true},
	},
	{
		name: "zip4j", script: "Zip4j.java", libraries: "/usr/share/java/zip4j.jar", version: debian + "libzip4j-java",
		cannot: "zip64; zip64, pipe", updates: allUpdates,
	},
	{
		name: "GNU fastjar", script: "fastjar.sh", version: debian + "fastjar",
		cannot: "zip64; zip64, pipe", updates: updates{add: true, replace: true},
		refused: map[string]*refusal{"pipe": lostOffsets, "stored, pipe": lostOffsets, "file names": unmarkedName, "streamed, updated": directoryFlags},
	},
	{
		name: "Python zipfile", script: "python_zipfile.py", version: "/usr/bin/python3 -V | sed 's/.* //'",
		updates: updates{add: true},
	},
	{
		name: "Python zipstream-ng", script: "zipstream_ng.py", version: debian + "python3-zipstream-ng",
		cannot: "zip64; zip64, pipe",
	},
	{
		name: "Perl Archive::Zip", script: "archive_zip.pl", version: "perl -MArchive::Zip -e 'print $Archive::Zip::VERSION'",
		updates: allUpdates,
		refused: map[string]*refusal{"streamed, updated": directoryFlags},
	},
	{
		name: "Perl IO::Compress::Zip", script: "io_compress.pl",
		version: "perl -MIO::Compress::Zip -e 'print $IO::Compress::Zip::VERSION'",
	},
	{
		name: "rubyzip", script: "rubyzip.rb", version: debian + "ruby-zip",
		cannot: "pipe; zip64; zip64, pipe; stored, pipe", updates: allUpdates,
	},
	{
		name: "PHP ZipArchive", script: "ziparchive.php", version: "php -r 'echo PHP_VERSION;'",
		cannot: "pipe; zip64; zip64, pipe; stored, pipe", updates: allUpdates,
	},
	{
		name: "Mono System.IO.Compression", script: "IoCompression.cs", libraries: "System.IO.Compression",
		version: "mono --version=number", cannot: "zip64; zip64, pipe; stored; stored, pipe", updates: allUpdates,
	},
	{
		name: "Mono SharpZipLib", script: "SharpZipLib.cs", libraries: "ICSharpCode.SharpZipLib",
		version: "mono --version=number", cannot: "zip64; zip64, pipe",
		refused: map[string]*refusal{"file names": unmarkedName},
	},
	{
		name: "Go archive/zip", version: "go env GOVERSION | sed 's/go//'",
		cannot: "zip64; zip64, pipe", updates: allUpdates,
	},
	{
		name: "Rust zip", script: "main.rs", version: debian + "librust-zip-dev",
		cannot: "pipe; zip64, pipe; stored, pipe", updates: updates{add: true},
		refused: map[string]*refusal{"streamed, updated": directoryFlags},
	},
	{
		name: "jszip", script: "jszip.js", version: npm + "jszip/package.json",
		cannot: "zip64; zip64, pipe", updates: allUpdates,
	},
	{name: "archiver", script: "archiver.js", version: npm + "archiver/package.json"},
	{name: "zip-stream", script: "zip-stream.js", version: npm + "zip-stream/package.json"},
	{name: "yazl", script: "yazl.js", version: npm + "yazl/package.json"},
	{
		name: "client-zip", script: "client-zip.js", version: npm + "client-zip/package.json",
		cannot: "plain; pipe; zip64; zip64, pipe",
	},
	{
		name: "fflate", script: "fflate.js", version: npm + "fflate/package.json",
		cannot: "zip64; zip64, pipe",
	},
	{
		name: "adm-zip", script: "adm-zip.js", version: npm + "adm-zip/package.json",
		cannot: "pipe; zip64; zip64, pipe; stored, pipe", updates: allUpdates,
	},
	{name: "zip.js", script: "zip.js", version: npm + "@zip.js/zip.js/package.json"},
}
