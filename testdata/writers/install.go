package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// dependency is a Debian package, and a command that succeeds if what it brings is there.
type dependency struct{ name, check string }

var dependencies = []dependency{
	{"7zip", "7zz i"},
	{"advancecomp", "command -v advzip"},
	{"ant", "ant -version"},
	{"cargo", "cargo --version"},
	{"default-jdk-headless", "javac --version"},
	{"fastjar", "command -v fastjar"},
	{"git", "git --version"},
	{"libarchive-tools", "bsdtar --version"},
	{"libarchive-zip-perl", "perl -MArchive::Zip -e 1"},
	{"libcommons-compress-java", "test -e /usr/share/java/commons-compress.jar"},
	{"libgsf-bin", "gsf --version"},
	{"libmono-sharpzip4.84-cil", "test -e /usr/lib/mono/4.5/ICSharpCode.SharpZipLib.dll"},
	{"libmono-system-io-compression4.0-cil", "test -e /usr/lib/mono/4.5/System.IO.Compression.dll"},
	{"librust-zip-dev", "ls -d /usr/share/cargo/registry/zip-0.6.*"},
	{"libzip4j-java", "test -e /usr/share/java/zip4j.jar"},
	{"locales", "test -e /usr/share/i18n/locales/en_US"},
	{"minizip", "command -v minizip"},
	{"mono-mcs", "mcs --version"},
	{"mono-runtime", "mono --version"},
	{"nodejs", "node --version"},
	{"npm", "npm --version"},
	{"perl", "perl -MIO::Compress::Zip -e 1"},
	{"php-cli", "php --version"},
	{"php-zip", "php -r 'new ZipArchive;'"},
	{"python3", "/usr/bin/python3 -c 'import zipfile'"},
	{"python3-zipstream-ng", "/usr/bin/python3 -c 'import zipstream.ng'"},
	{"ruby", "ruby --version"},
	{"ruby-zip", "ruby -e 'require \"zip\"'"},
	{"zip", "zip -v"},
	{"ziptool", "command -v ziptool"},
}

// install installs what is missing: Debian packages into the system, if this is root on a
// system with apt-get, and npm packages into the folder node/node_modules.
func install(ctx context.Context) error {
	if missing := missing(ctx); len(missing) > 0 {
		list := strings.Join(missing, " ")
		if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
			return fmt.Errorf("these Debian packages are missing, and only root can install them: %s", list)
		}
		fmt.Println("installing Debian packages into the system:", list)
		// Another installation may hold the lock for a while.
		const apt = "apt-get -q -o DPkg::Lock::Timeout=300"
		if err := shell(ctx, ".", apt+" update && "+apt+" install -y --no-install-recommends "+list); err != nil {
			return err
		}
	}
	if missing := missing(ctx); len(missing) > 0 {
		return fmt.Errorf("these Debian packages are still missing: %s", strings.Join(missing, " "))
	}
	return installNode(ctx)
}

func missing(ctx context.Context) (names []string) {
	for _, d := range dependencies {
		if shell(ctx, ".", d.check) != nil {
			names = append(names, d.name)
		}
	}
	return names
}

// installNode installs the npm packages that package-lock.json names, if they are not there.
func installNode(ctx context.Context) error {
	folder := filepath.Join(home, "node")
	locked, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	// npm writes this file last.
	if done, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err == nil && done.ModTime().After(locked.ModTime()) {
		return nil
	}
	fmt.Println("installing npm packages into", filepath.Join(folder, "node_modules"))
	return shell(ctx, folder, "npm ci --ignore-scripts --no-audit --no-fund")
}

// shell runs a shell command in a folder. The error has its output.
func shell(ctx context.Context, folder, line string) error {
	command := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	command.Dir = folder
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return nil
}
