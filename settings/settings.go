// Package settings reads flags and environment variables, and checks them.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
)

// Settings holds the commands and their flags. Each flag has an environment
// variable, see [variable]. --help and docs/configuration.md are made from the tags.
type Settings struct {
	Serve       Serve       `cmd:"" default:"withargs" help:"Receive uploads until SIGTERM (the default command)."`
	Check       Check       `cmd:"" help:"Check the settings, the machine and the store, and say what to do. Deletes again what it writes to the store, and may run beside an instance. The exit status is 1 if a check is an error."`
	Token       Token       `cmd:"" help:"Create, list and revoke upload tokens."`
	Healthcheck Healthcheck `cmd:"" help:"Ask the instance on this machine for /__lbheartbeat__. The exit status is 0 if it should get uploads, and 1 if not or if there is no answer within 3s. For supervisors of containers."`
	Receipts    Receipts    `cmd:"" help:"Print the receipts of stored uploads, oldest first."`
	Version     Version     `cmd:"" help:"Print the version."`
}

// Serve holds the settings of the serve command. Call [Serve.Complete] before using
// them.
type Serve struct {
	Listen string `group:"Listeners:" default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Address of the API."`

	TLSCert string `group:"Listeners:" name:"tls-cert" placeholder:"PATH" help:"Certificate chain of the API (PEM), which makes it https. Read once, at the start."`
	TLSKey  string `group:"Listeners:" name:"tls-key" placeholder:"PATH" help:"Private key of --tls-cert (PEM)."`

	TrustedProxies []AddressRange `group:"Listeners:" placeholder:"LIST" help:"Address ranges of the proxies in front of the API, such as 10.0.0.0/8, separated by commas. The log and the live page then show the client that they name in X-Forwarded-For or Forwarded. If unset: none is believed."`

	AdminListen string   `group:"Listeners:" default:"127.0.0.1:8001" placeholder:"HOST:PORT" help:"Address of metrics, the live page and profiles. They are unauthenticated."`
	AdminHosts  []string `group:"Listeners:" placeholder:"LIST" help:"Host names that requests to the admin listener may use, separated by commas. IP addresses and localhost always work. Any other name gets a 421, which stops DNS rebinding."`

	Dev         bool   `group:"Development:" help:"For development, on loopback only: an S3 server in this process, the tokens 'dev' (regular symbols) and 'devtry' (try symbols), and console logs. With --s3-endpoint, that S3 server instead of the one in this process."`
	DevS3Listen string `group:"Development:" name:"dev-s3-listen" default:"127.0.0.1:9000" placeholder:"HOST:PORT" help:"Address of the S3 server of --dev. It keeps objects in memory only."`

	Buckets

	S3Prefix      string   `group:"Storage:" name:"s3-prefix" default:"v1/" placeholder:"TEXT" help:"Prefix of the keys of symbols. It must end in /, and only Spillway may upload under it: see --sweep-age."`
	S3TryPrefix   string   `group:"Storage:" name:"s3-try-prefix" default:"try/v1/" placeholder:"TEXT" help:"Prefix of the keys of try symbols, with the same rules. In the same bucket, it must differ from --s3-prefix."`
	S3PartSize    ByteSize `group:"Storage:" name:"s3-part-size" default:"8MiB" placeholder:"SIZE" help:"Largest part of a multipart upload, 5MiB to 5GiB. Parts are at most a sixth of --memory."`
	S3Concurrency int      `group:"Storage:" name:"s3-concurrency" default:"64" placeholder:"COUNT" help:"Requests to S3 in flight at once, for all uploads together."`
	S3Verify      bool     `group:"Storage:" name:"s3-verify" help:"Look at each object in S3 once more after publishing it, before the answer. For stores that lose objects: see docs/stores.md."`
	SkipBySize    bool     `group:"Storage:" help:"Also skip an entry if the stored object has no hash to compare, but the same length."`

	SweepAge time.Duration `group:"Storage:" default:"24h" placeholder:"TIME" help:"Abort unfinished multipart uploads under the prefixes when they are older than this by S3's clock, whoever began them. At least twice --upload-timeout, and at least 1h (less only with --dev)."`

	TokensFile     string `group:"Tokens:" placeholder:"PATH" help:"File with the upload tokens. Required without --tokens-upstream and --dev, which adds its own tokens. It must be a regular file. It is read again when it changes and on SIGHUP."`
	TokensUpstream string `placeholder:"URL" group:"Tokens:" help:"Server with the same API, such as Tecken, to ask about tokens that are not in --tokens-file: whom it accepts may upload. https only, except on loopback and with --dev. Its answers are used for 5m (30s for a refusal), and accepted tokens for 24h while it cannot be asked."`

	Memory           ByteSize `group:"Memory and disk:" default:"256MiB" placeholder:"SIZE" help:"Memory for all uploads together, at least 30MiB. The process takes at most 130 MiB more."`
	SpillDir         string   `group:"Memory and disk:" placeholder:"PATH" help:"Folder for archives that cannot be read front to back. Choose one on a disk: on many systems /tmp is memory. Spill files have no names and vanish with the process. If unset: the system's folder for temporary files."`
	SpillQuota       ByteSize `group:"Memory and disk:" default:"4GiB" placeholder:"SIZE" help:"Disk space for all uploads together. 0: no disk; archives that need it are refused unless they are small."`
	SpillUploadQuota ByteSize `group:"Memory and disk:" default:"2GiB" placeholder:"SIZE" help:"Disk space for one upload."`
	SpillMinFree     ByteSize `group:"Memory and disk:" default:"1GiB" placeholder:"SIZE" help:"Free space to leave on the file system of --spill-dir."`

	MaxUploadSize   ByteSize      `group:"Limits:" default:"2GiB" placeholder:"SIZE" help:"Largest archive."`
	MaxEntries      int           `group:"Limits:" default:"20000" placeholder:"COUNT" help:"Most entries in an archive, directories included."`
	MaxExpandedSize ByteSize      `group:"Limits:" default:"48GiB" placeholder:"SIZE" help:"Largest uncompressed size of all entries of an archive together."`
	MaxUploads      int           `group:"Limits:" default:"64" placeholder:"COUNT" help:"Uploads at once. Further ones wait for their turn."`
	MaxTokenUploads int           `group:"Limits:" default:"0" placeholder:"COUNT" help:"Uploads at once with one token. Further ones get a 429. 0: no limit."`
	MaxTokenBytes   ByteSize      `group:"Limits:" default:"0" placeholder:"SIZE" help:"Bytes of all uploads at once with one token. Uploads beyond it get a 429. 0: no limit."`
	RoomWait        time.Duration `group:"Limits:" default:"30s" placeholder:"TIME" help:"How long an upload waits for its turn before it gets a 503. Once admitted, it gets a 503 if it waits for memory or disk and no upload makes progress for this long."`
	IdleTimeout     time.Duration `group:"Timeouts:" default:"60s" placeholder:"TIME" help:"End an upload whose client sends nothing for this long, or averages under 256 B/s for a minute."`
	UploadTimeout   time.Duration `group:"Timeouts:" default:"15m" placeholder:"TIME" help:"End an upload that is not verified after this time. Publishing has a timeout of its own."`
	DrainDelay      time.Duration `group:"Timeouts:" default:"0s" placeholder:"TIME" help:"How long uploads are still accepted after SIGTERM or SIGINT, while /__lbheartbeat__ already answers 503, so that load balancers notice."`
	DrainTimeout    time.Duration `group:"Timeouts:" default:"60s" placeholder:"TIME" help:"How long uploads under way may then take. Those that take longer are ended, and the exit status is 3. The process exits at most 10s later."`

	DownloadDomains []string `group:"Uploads by URL:" default:"queue.taskcluster.net,firefox-ci-tc.services.mozilla.com" placeholder:"LIST" help:"Hosts that uploads by URL may fetch archives from, separated by commas. Redirects must stay on them. If empty: none."`
	DownloadAny     bool     `group:"Uploads by URL:" help:"For development: let uploads by URL fetch from any host, private addresses and plain http included."`

	GzipExtensions     []string `group:"Archives:" default:".sym" placeholder:"LIST" help:"Extensions of files to store gzipped, separated by commas. Case is ignored."`
	DisallowedSnippets []string `group:"Archives:" default:"qcom/proprietary" placeholder:"LIST" help:"Refuse archives in which the name of an entry contains one of these, separated by commas."`

	SentryDSN string `group:"Log and reports:" name:"sentry-dsn" placeholder:"URL" help:"Sentry project for reports of bugs, failures and timeouts. Also $$SENTRY_DSN."`

	LogLevel  string `group:"Log and reports:" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Lowest level to log: debug, info, warn or error."`
	LogFormat string `group:"Log and reports:" default:"" enum:",json,mozlog,console" placeholder:"FORMAT" help:"json, mozlog (JSON in Mozilla's log schema) or console. If unset: json, or console with --dev."`
}

// Check holds the settings of the check command: those of serve, which it checks. Call
// [Serve.Complete] before using them.
type Check struct {
	Serve
	JSON bool `name:"json" help:"Print the results as JSON: see docs/operations.md."`
}

// Token holds the settings of the token commands.
type Token struct {
	TokensFile string `required:"" placeholder:"PATH" help:"The tokens file."`

	Create TokenCreate `cmd:"" help:"Create a token, add its SHA-256 to the file, and print the token. It is shown only once."`
	List   TokenList   `cmd:"" help:"List the tokens in the file, and say which have expired or expire within 30 days."`
	Revoke TokenRevoke `cmd:"" help:"Remove a token from the file."`
}

// TokenCreate holds the settings of token create.
type TokenCreate struct {
	Email      string        `required:"" placeholder:"ADDRESS" help:"Email address of the token's owner."`
	Permission []string      `default:"upload_symbols" enum:"upload_symbols,upload_try_symbols" placeholder:"LIST" help:"upload_symbols, upload_try_symbols, or both, separated by a comma."`
	ExpiresIn  time.Duration `default:"8760h" placeholder:"TIME" help:"How long the token is valid."`
	Note       string        `placeholder:"TEXT" help:"What the token is for."`
}

// TokenList holds the settings of token list.
type TokenList struct {
	JSON bool `name:"json" help:"Print JSON instead of a table."`
}

// TokenRevoke holds the settings of token revoke.
type TokenRevoke struct {
	Digest string `arg:"" help:"First digits of the token's SHA-256, as token list shows them."`
}

// Healthcheck holds the settings of the healthcheck command. They have the names of those
// of serve, so that both commands can share their environment.
type Healthcheck struct {
	Listen  string `default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Address of the API, as for serve."`
	TLSCert string `name:"tls-cert" placeholder:"PATH" help:"If set, the API is asked by https. The file is not read."`
}

// Version holds the settings of the version command: none.
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

// String formats the size in the largest unit that divides it.
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

// AddressRange is a range of IP addresses, written as "10.0.0.0/8", or a single one. The
// empty text is the zero AddressRange.
type AddressRange netip.Prefix

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *AddressRange) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if a, addressErr := netip.ParseAddr(string(text)); addressErr == nil && a.Zone() == "" {
		prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address range such as 10.0.0.0/8", text)
	case prefix.Addr().Is4In6():
		return fmt.Errorf("%q is a range of IPv4 addresses: write it as one", text)
	case prefix != prefix.Masked():
		return fmt.Errorf("%q is not the start of a range: %s is", text, prefix.Masked())
	case prefix.Bits() == 0:
		return fmt.Errorf("%q are all addresses: every client could claim to be any other", text)
	}
	*r = AddressRange(prefix)
	return nil
}

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "SPILLWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// An Error reports a setting that is well-formed but cannot be used.
type Error struct {
	Err error // names the setting and says why
}

// Error implements [error].
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// ErrHelp reports that help was requested and has been printed.
var ErrHelp = errors.New("help was printed")

// Parse reads the settings from the command line. Flags that are not there come
// from the environment; an empty variable counts as unset. Parse returns the
// command: "serve", "token create" and so on. If help is requested, it goes to
// stdout and the error is [ErrHelp]. Any other error is one line for the user.
func Parse(args []string, getenv func(string) string, stdout io.Writer) (*Settings, string, error) {
	s := new(Settings)
	helped := false
	parser, err := newParser(s, getenv, stdout, func(int) { helped = true })
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

func newParser(s *Settings, getenv func(string) string, stdout io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(s,
		kong.Name("spillway"),
		kong.Description("A streaming upload proxy: receives debug-symbol archives over HTTP and stores their files in S3."),
		kong.Writers(stdout, io.Discard),
		kong.Exit(exit),
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
}

// printHelp prints the help of a command. After the help of the program it prints
// that of the default command, which has most of the flags.
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

// describe returns the text for a flag in --help: its help, default and variable.
func describe(value *kong.Value) string {
	if value.Flag == nil || value.Name == "help" {
		return value.Help
	}
	if value.HasDefault && value.Default != "" {
		return fmt.Sprintf("%s Default: %s. $%s", value.Help, value.Default, variable(value.Name))
	}
	return fmt.Sprintf("%s $%s", value.Help, variable(value.Name))
}
