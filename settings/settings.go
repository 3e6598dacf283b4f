// Package settings reads the command line and the environment, and checks them.
package settings

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
)

// Settings are the commands and their flags. Each flag has an environment
// variable of its name, see [variable].
type Settings struct {
	Serve   Serve   `cmd:"" default:"withargs" help:"Take uploads until SIGTERM (the default command)."`
	Token   Token   `cmd:"" help:"Make, list and revoke the tokens that clients upload with."`
	Version Version `cmd:"" help:"Print the version."`
}

// Serve is the settings of the serve command. Call [Serve.Complete] before they are
// used.
type Serve struct {
	Listen string `default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Where the API listens."`

	TLSCert string `name:"tls-cert" placeholder:"PATH" help:"Certificate chain (PEM) for the API, which is https then. It is read at the start."`
	TLSKey  string `name:"tls-key" placeholder:"PATH" help:"Its private key (PEM)."`

	AdminListen string   `default:"127.0.0.1:8001" placeholder:"HOST:PORT" help:"Where metrics, the live page and profiles are. They are unauthenticated."`
	AdminHosts  []string `placeholder:"LIST" help:"Names that requests may call the admin listener by, separated by commas. IP addresses and localhost always do. Any other name gets a 421, so that no web page reaches the listener through DNS."`

	Dev         bool   `help:"For development, on loopback only: an S3 server in this process, the tokens 'dev' (regular symbols) and 'devtry' (try symbols), console logs. With --s3-endpoint, that S3 server instead of one in this process."`
	DevS3Listen string `name:"dev-s3-listen" default:"127.0.0.1:9000" placeholder:"HOST:PORT" help:"Where the S3 server of --dev listens. It keeps objects in memory only."`

	S3Bucket      string   `name:"s3-bucket" placeholder:"NAME" help:"Bucket for symbols. Required, but with --dev it is 'symbols'. Credentials come the AWS SDK's usual way."`
	S3TryBucket   string   `name:"s3-try-bucket" placeholder:"NAME" help:"Bucket for try symbols, if not the same."`
	S3Region      string   `name:"s3-region" placeholder:"NAME" help:"Region of the buckets, if it is not where the AWS SDK looks for it."`
	S3Endpoint    string   `name:"s3-endpoint" placeholder:"URL" help:"S3 server, if it is not AWS, or what $$AWS_ENDPOINT_URL_S3 says."`
	S3PathStyle   bool     `name:"s3-path-style" help:"Name the bucket in the path of a request, not in its host. With --dev this is always so."`
	S3Prefix      string   `name:"s3-prefix" default:"v1/" placeholder:"TEXT" help:"What the keys of symbols begin with. It must end in / and be for Spillway alone: see --sweep-age."`
	S3TryPrefix   string   `name:"s3-try-prefix" default:"try/v1/" placeholder:"TEXT" help:"What the keys of try symbols begin with. It must end in /, too, and differ from --s3-prefix unless the buckets differ."`
	S3PartSize    ByteSize `name:"s3-part-size" default:"8MiB" placeholder:"SIZE" help:"Largest part of a multipart upload, 5MiB to 5GiB. A part is never more than a sixth of --memory."`
	S3Concurrency int      `name:"s3-concurrency" default:"64" placeholder:"COUNT" help:"Requests to S3 in flight at once, of all uploads together."`
	SkipBySize    bool     `help:"Skip an entry also where the stored object has no hash to compare, but the same length."`

	SweepAge time.Duration `default:"24h" placeholder:"TIME" help:"Abort unfinished multipart uploads under the prefixes that are older by S3's clock, whoever began them. At least twice --upload-timeout, and at least 1h (less only with --dev)."`

	TokensFile string `placeholder:"PATH" help:"The tokens that clients upload with: a regular file. Required, except with --dev, which adds tokens of its own. It is read again when it changes and on SIGHUP."`

	Memory           ByteSize `default:"256MiB" placeholder:"SIZE" help:"Memory for all uploads together, at least 30MiB. The process takes at most 130 MiB more."`
	SpillDir         string   `placeholder:"PATH" help:"Folder on a disk, for archives that cannot be read while they arrive. Files in it have no names, and are gone with the process. If it is not set: the system's folder for temporary files."`
	SpillQuota       ByteSize `default:"4GiB" placeholder:"SIZE" help:"Most disk that all uploads together may take. 0: no disk is used, and such archives are refused unless they are small."`
	SpillUploadQuota ByteSize `default:"2GiB" placeholder:"SIZE" help:"Most disk that one upload may take."`
	SpillMinFree     ByteSize `default:"1GiB" placeholder:"SIZE" help:"Space that is left free on the file system of --spill-dir."`

	MaxUploadSize   ByteSize      `default:"2GiB" placeholder:"SIZE" help:"Largest request."`
	MaxEntries      int           `default:"20000" placeholder:"COUNT" help:"Most entries in an archive, directories included."`
	MaxExpandedSize ByteSize      `default:"48GiB" placeholder:"SIZE" help:"Most bytes of an archive's entries together, expanded."`
	MaxUploads      int           `default:"64" placeholder:"COUNT" help:"Uploads at once. More of them wait."`
	MaxTokenUploads int           `default:"0" placeholder:"COUNT" help:"Uploads at once with one token, beyond which it gets a 429. 0: no limit of its own."`
	MaxTokenBytes   ByteSize      `default:"0" placeholder:"SIZE" help:"Bytes of archives at once with one token, beyond which it gets a 429. 0: no limit of its own."`
	RoomWait        time.Duration `default:"30s" placeholder:"TIME" help:"How long an upload waits for its turn before it is answered with 503. Once it has begun, how long it waits for memory or disk while none is given back."`
	IdleTimeout     time.Duration `default:"60s" placeholder:"TIME" help:"How long a client may send nothing. Less than 256 bytes a second in a minute are nothing, too."`
	UploadTimeout   time.Duration `default:"15m" placeholder:"TIME" help:"How long an upload may take until it is verified."`
	DrainDelay      time.Duration `default:"0s" placeholder:"TIME" help:"How long uploads are still taken after SIGTERM or SIGINT, while /__lbheartbeat__ says 503 already, so that load balancers notice."`
	DrainTimeout    time.Duration `default:"60s" placeholder:"TIME" help:"How long uploads under way may go on after SIGTERM or SIGINT. Those that take longer are ended, and the exit status is 3. The process ends at most 10s later."`

	GzipExtensions     []string `default:".sym" placeholder:"LIST" help:"Extensions of the files that are stored gzipped, separated by commas. Case does not matter."`
	DisallowedSnippets []string `default:"qcom/proprietary" placeholder:"LIST" help:"Archives are refused that hold a name with one of these in it, separated by commas."`

	SentryDSN string `name:"sentry-dsn" placeholder:"URL" help:"Sentry project that defects, failures and time-outs are reported to, if any. Or $SENTRY_DSN."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error."`
	LogFormat string `default:"" enum:",json,mozlog,console" placeholder:"FORMAT" help:"json, mozlog (Mozilla's schema, JSON as well) or console. If it is not set: json, with --dev console."`
}

// Token is the settings of the token commands.
type Token struct {
	TokensFile string `required:"" placeholder:"PATH" help:"The tokens file."`

	Create TokenCreate `cmd:"" help:"Make a token, put its SHA-256 into the file, and print it. It is shown only now."`
	List   struct{}    `cmd:"" help:"List the tokens in the file."`
	Revoke TokenRevoke `cmd:"" help:"Remove a token from the file."`
}

// TokenCreate is the settings of token create.
type TokenCreate struct {
	Email      string        `required:"" placeholder:"ADDRESS" help:"Whose token it is."`
	Permission []string      `default:"upload_symbols" enum:"upload_symbols,upload_try_symbols" placeholder:"LIST" help:"upload_symbols, upload_try_symbols, or both, separated by a comma."`
	ExpiresIn  time.Duration `default:"8760h" placeholder:"TIME" help:"How long it can be used."`
	Note       string        `placeholder:"TEXT" help:"What it is for."`
}

// TokenRevoke is the settings of token revoke.
type TokenRevoke struct {
	Digest string `arg:"" help:"What the SHA-256 of the token begins with, as listed."`
}

// Version is the settings of the version command: there are none.
type Version struct{}

// ByteSize is a number of bytes, written as "64MiB", "5 GB" or plain digits.
type ByteSize int64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *ByteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	*s = ByteSize(n)
	return nil
}

// String writes the size in a unit that keeps it exact.
func (s ByteSize) String() string {
	for _, unit := range []struct {
		size ByteSize
		name string
	}{{humanize.GiByte, "GiB"}, {humanize.MiByte, "MiB"}, {humanize.KiByte, "KiB"}} {
		if s > 0 && s%unit.size == 0 {
			return fmt.Sprintf("%d%s", s/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d", int64(s))
}

var _ encoding.TextUnmarshaler = (*ByteSize)(nil)

// variable is the environment variable that sets a flag.
func variable(flag string) string {
	return "SPILLWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// An Error says that a setting, well-formed in itself, does not work out.
type Error struct {
	Err error // says which setting it is, and why
}

// Error implements [error].
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// ErrHelp says that help was asked for and has been printed.
var ErrHelp = errors.New("help was printed")

// Parse reads the settings from the command line and, for flags that are not
// there, from the environment; a variable that is set to nothing counts as not
// set. It returns the command: "serve", "token create" and so on. Help goes to
// stdout; then the error is ErrHelp. Every other error is a line for the user.
func Parse(args []string, getenv func(string) string, stdout io.Writer) (*Settings, string, error) {
	s := new(Settings)
	helped := false
	parser, err := kong.New(s,
		kong.Name("spillway"),
		kong.Description("A streaming upload proxy: takes archives of debug symbols over HTTP and puts their files into S3."),
		kong.Writers(stdout, io.Discard),
		kong.Exit(func(int) { helped = true }),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			value := getenv(variable(flag.Name))
			if flag.Name == "sentry-dsn" {
				value = cmp.Or(value, getenv("SENTRY_DSN"))
			}
			if value != "" && flag.Name != "help" {
				return value, nil
			}
			return nil, nil
		})),
		kong.ValueFormatter(describe),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 110}),
		kong.Help(printHelp),
	)
	if err != nil {
		return nil, "", err
	}
	ctx, err := parser.Parse(args)
	switch {
	case helped:
		return nil, "", ErrHelp
	case err != nil:
		return nil, "", err
	}
	return s, ctx.Command(), nil
}

// printHelp writes the help of a command, and after that of the program itself
// the one of its default command, which has most of the flags.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil || ctx.Selected() != nil {
		return err
	}
	serve, err := kong.Trace(ctx.Kong, []string{"serve"})
	if err != nil {
		return err
	}
	fmt.Fprintln(ctx.Stdout)
	return kong.DefaultHelpPrinter(options, serve)
}

// describe is what --help says of a flag: its help, default and variable.
func describe(value *kong.Value) string {
	if value.Flag == nil || value.Name == "help" {
		return value.Help
	}
	if value.HasDefault && value.Default != "" {
		return fmt.Sprintf("%s Default: %s. $%s", value.Help, value.Default, variable(value.Name))
	}
	return fmt.Sprintf("%s $%s", value.Help, variable(value.Name))
}
