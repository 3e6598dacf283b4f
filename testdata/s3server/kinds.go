package s3server

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Kind is a program that is an S3 server.
type Kind struct {
	Name string // as its makers write it

	// Variable is the environment variable with the path of the program.
	Variable string

	// script runs the server. Its arguments are the program, an empty folder, and free
	// ports, of which the first is that of S3. It has the credentials in $ACCESS_KEY and
	// $SECRET_KEY. It ends with its processes on SIGTERM.
	script string
	ports  int // how many the script needs

	version func(program string) (string, error)

	noETag bool // Client.NoETag
}

// Versitygw keeps each object in a file. It is the one that all tests need.
var Versitygw = Kind{
	Name:     "versitygw",
	Variable: "SPILLWAY_VERSITYGW",
	script: `
		export ROOT_ACCESS_KEY=$ACCESS_KEY ROOT_SECRET_KEY=$SECRET_KEY
		exec "$1" --port 127.0.0.1:$3 --quiet --keep-alive posix "$2"`,
	ports:   1,
	version: folderVersion,
}

// versitygwIAM is versitygw beside its IAM service, for [StartIAM].
var versitygwIAM = Kind{
	Name:     "versitygw with IAM",
	Variable: "SPILLWAY_VERSITYGW",
	script:   iam,
	ports:    2,
	version:  folderVersion,
}

// others are servers that tests run on as well if their variables are set.
var others = []Kind{
	{
		Name:     "SeaweedFS",
		Variable: "SPILLWAY_WEED",
		// A bucket has volumes of its own, by default seven.
		script: `
			export AWS_ACCESS_KEY_ID=$ACCESS_KEY AWS_SECRET_ACCESS_KEY=$SECRET_KEY WEED_MASTER_VOLUME_GROWTH_COPY_1=1
			exec "$1" server -dir "$2" -ip 127.0.0.1 -master.telemetry=false -master.peers=none -volume.max=10000 -volume.preStopSeconds=0 -filer -s3 -s3.autoCreateBucket=false \
				-s3.port $3 -s3.port.grpc $4 -master.port $5 -master.port.grpc $6 -volume.port $7 -volume.port.grpc $8 \
				-filer.port $9 -filer.port.grpc ${10} -s3.port.iceberg 0 -s3.port.lance 0`,
		ports:   8,
		version: weedVersion,
	},
	{
		Name:     "MinIO",
		Variable: "SPILLWAY_MINIO",
		script: `
			export MINIO_ROOT_USER=$ACCESS_KEY MINIO_ROOT_PASSWORD=$SECRET_KEY MINIO_UPDATE=off MINIO_BROWSER=off
			exec "$1" server --quiet --address 127.0.0.1:$3 --config-dir "$2/config" "$2/data"`,
		ports:   1,
		version: folderVersion,
	},
	{
		Name:     "Ceph RGW",
		Variable: "SPILLWAY_RADOSGW",
		script:   ceph,
		ports:    3,
		version:  cephVersion,
		noETag:   true,
	},
}

// faulty are servers that lose objects by themselves.
var faulty = []Kind{
	{
		Name:     "rclone serve s3",
		Variable: "SPILLWAY_RCLONE",
		script: `
			exec "$1" serve s3 --config /dev/null --addr 127.0.0.1:$3 --auth-key $ACCESS_KEY,$SECRET_KEY "$2"`,
		ports:   1,
		version: folderVersion,
	},
	{
		Name:     "versitygw over Azurite",
		Variable: "SPILLWAY_AZURITE",
		script:   azure,
		ports:    2,
		version:  azuriteVersion,
	},
}

var (
	//go:embed ceph.sh
	ceph string
	//go:embed azure.sh
	azure string
	//go:embed iam.sh
	iam string
)

// Kinds returns versitygw and the other servers that are installed, without those that
// lose objects.
func Kinds() []Kind { return append([]Kind{Versitygw}, installed(others)...) }

// Faulty returns the installed servers that lose objects by themselves. No test can run
// on them, but Spillway has to notice.
func Faulty() []Kind { return installed(faulty) }

func installed(kinds []Kind) []Kind {
	return slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { return os.Getenv(k.Variable) == "" })
}

// Each runs a test on each of [Kinds], one after the other.
func Each(t *testing.T, test func(t *testing.T, k Kind)) {
	t.Helper()
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) { test(t, k) })
	}
}

// Version returns the version of the installed program.
func (k Kind) Version() (string, error) {
	program, err := k.find()
	if err != nil {
		return "", err
	}
	return k.version(program)
}

// folderVersion returns the name of the folder that a program is in. The Makefile
// installs each program in a folder named after its version.
func folderVersion(program string) (string, error) {
	return filepath.Base(filepath.Dir(program)), nil
}

// cephVersion asks the program: "ceph version 16.2.15 (618f…) pacific (stable)".
func cephVersion(program string) (string, error) { return askVersion(program, "--version", 2) }

// weedVersion asks the program: "version 30GB 4.53  linux amd64".
func weedVersion(program string) (string, error) { return askVersion(program, "version", 2) }

// azuriteVersion names both versions.
func azuriteVersion(program string) (string, error) {
	azurite, err := askVersion(program, "--version", 0)
	if err != nil {
		return "", err
	}
	gateway, err := Versitygw.Version()
	return gateway + ", " + azurite, err
}

// askVersion runs a program and returns a word of what it says.
func askVersion(program, argument string, word int) (string, error) {
	out, err := exec.CommandContext(context.Background(), program, argument).Output()
	if err != nil {
		return "", err
	}
	words := strings.Fields(string(out))
	if len(words) <= word {
		return "", fmt.Errorf("%s %s says %q", program, argument, out)
	}
	return words[word], nil
}

func (k Kind) find() (string, error) {
	path, err := exec.LookPath(os.Getenv(k.Variable))
	if err != nil {
		return "", fmt.Errorf("this test needs the S3 server %s, which the Makefile installs; %s is its path: %w", k.Name, k.Variable, err)
	}
	return path, nil
}
