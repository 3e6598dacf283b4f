package settings

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"spillway/stream"
	"spillway/stream/budget"
)

const (
	mebibyte ByteSize = 1 << 20
	gibibyte ByteSize = 1 << 30

	// Limits of S3 (S3 User Guide, "Amazon S3 multipart upload limits").
	minPartSize = 5 * mebibyte
	maxPartSize = 5 * gibibyte
	maxParts    = 10_000

	// minSweepAge keeps one instance from aborting the uploads of another in the same
	// bucket.
	minSweepAge = time.Hour
)

// Complete checks the settings and fills in those that depend on others. Its error is
// one line for the user.
func (s *Serve) Complete() error {
	logFormat := "json"
	if s.Dev {
		s.S3Bucket = cmp.Or(s.S3Bucket, "symbols")
		s.S3PathStyle = true
		logFormat = "console"
	}
	s.LogFormat = cmp.Or(s.LogFormat, logFormat)
	s.SpillDir = cmp.Or(s.SpillDir, os.TempDir())
	for _, list := range []*[]string{&s.AdminHosts, &s.DownloadDomains, &s.GzipExtensions, &s.DisallowedSnippets} {
		*list = slices.DeleteFunc(*list, func(t string) bool { return t == "" })
	}
	s.TrustedProxies = slices.DeleteFunc(s.TrustedProxies, func(r AddressRange) bool { return r == AddressRange{} })
	for _, check := range []func() error{s.checkAddresses, s.checkStore, s.checkTokens, s.checkLimits, s.checkTimes, s.checkExtensions} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// Proxies returns the ranges of the trusted proxies.
func (s *Serve) Proxies() (ranges []netip.Prefix) {
	for _, r := range s.TrustedProxies {
		ranges = append(ranges, netip.Prefix(r))
	}
	return ranges
}

// EmbeddedS3 reports whether the S3 server is in this process.
func (s *Serve) EmbeddedS3() bool { return s.Dev && s.S3Endpoint == "" }

func (s *Serve) checkAddresses() error {
	addresses := []struct{ flag, value string }{{"listen", s.Listen}, {"admin-listen", s.AdminListen}}
	if s.EmbeddedS3() {
		addresses = append(addresses, struct{ flag, value string }{"dev-s3-listen", s.DevS3Listen})
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key must be set together")
	}
	if s.Dev && s.TLSCert != "" {
		return errors.New("--tls-cert: --dev serves plain http only")
	}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"admin-hosts", s.AdminHosts}, {"download-domains", s.DownloadDomains}} {
		for _, name := range list.names {
			if strings.ContainsAny(name, ":/*[]@ ") {
				return fmt.Errorf("--%s: %q is not a host name such as spillway.example.com, without a port", list.flag, name)
			}
		}
	}
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a.value)
		if err != nil {
			return fmt.Errorf("--%s: %q is not an address such as 127.0.0.1:8000", a.flag, a.value)
		}
		if s.Dev && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("--%s: %q is not a loopback address. --dev listens on loopback only, because everybody knows its tokens", a.flag, a.value)
		}
	}
	return nil
}

func (s *Serve) checkStore() error {
	if s.S3Bucket == "" {
		return errors.New("--s3-bucket is required: the bucket for symbols (or use --dev to try Spillway)")
	}
	if err := s.checkEndpoint(); err != nil {
		return err
	}
	if err := s.checkPrefixes(); err != nil {
		return err
	}
	return s.checkReceipts()
}

func (s *Serve) checkTokens() error {
	if s.TokensUpstream == "" {
		if s.TokensFile == "" && !s.Dev {
			return errors.New("--tokens-file is required: the file with the upload tokens (see spillway token create)")
		}
		return nil
	}
	// No message shows the URL: it may contain a password.
	u, err := url.Parse(s.TokensUpstream)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("--tokens-upstream: it is not a URL such as https://symbols.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("--tokens-upstream: it must have no user, password, query or fragment")
	case strings.Contains(u.Path+"/", "/upload/"):
		return errors.New("--tokens-upstream: it must be the URL of the server, without the path of its API")
	case u.Scheme == "http" && !s.Dev && !isLoopback(u.Hostname()):
		return errors.New("--tokens-upstream: it must be https, because tokens are sent to it (plain http only on loopback and with --dev)")
	}
	return nil
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkPrefixes accepts only prefixes that name one folder. The sweep aborts old
// uploads under all keys that start with a prefix: "v1" would cover "v10/", and an
// empty prefix the whole bucket.
func (s *Serve) checkPrefixes() error {
	for _, c := range []struct{ flag, prefix string }{{"s3-prefix", s.S3Prefix}, {"s3-try-prefix", s.S3TryPrefix}} {
		folder, ends := strings.CutSuffix(c.prefix, "/")
		switch {
		case c.prefix == "":
			return fmt.Errorf("--%s: it is empty, so Spillway would abort old multipart uploads in the whole bucket. Set it to a folder that only Spillway uses, such as v1/", c.flag)
		case !ends:
			return fmt.Errorf("--%s: %q does not end in /, so Spillway would abort old multipart uploads under all keys that start with it. Write it as %q", c.flag, c.prefix, c.prefix+"/")
		case !fs.ValidPath(folder) || folder == ".":
			// S3 accepts such keys. Many clients and other servers clean them as paths
			// and would look for another key.
			return fmt.Errorf("--%s: %q is not a folder such as v1/: it must not start with /, nor contain ., .. or //", c.flag, c.prefix)
		}
	}
	sameBucket := s.S3TryBucket == "" || s.S3TryBucket == s.S3Bucket
	if sameBucket && s.S3Prefix == s.S3TryPrefix {
		return fmt.Errorf("--s3-try-prefix: %q is also --s3-prefix, in the same bucket, so try symbols would replace regular ones", s.S3TryPrefix)
	}
	return nil
}

func (s *Serve) checkLimits() error {
	for _, c := range []struct {
		flag  string
		value int
	}{
		{"s3-concurrency", s.S3Concurrency},
		{"max-entries", s.MaxEntries},
		{"max-uploads", s.MaxUploads},
	} {
		if c.value < 1 {
			return fmt.Errorf("--%s: %d is less than 1", c.flag, c.value)
		}
	}
	for _, c := range []struct {
		flag  string
		value ByteSize
	}{
		{"max-upload-size", s.MaxUploadSize},
		{"max-expanded-size", s.MaxExpandedSize},
	} {
		if c.value < 1 {
			return fmt.Errorf("--%s: it must be greater than 0", c.flag)
		}
	}
	if s.MaxTokenUploads < 0 {
		return fmt.Errorf("--max-token-uploads: %d is less than 0", s.MaxTokenUploads)
	}
	if s.MaxTokenBytes != 0 && s.MaxTokenBytes < s.MaxUploadSize+mebibyte {
		return fmt.Errorf("--max-token-bytes: %v is less than the %v of --max-upload-size and 1MiB for the form, so no token could send the largest archive", s.MaxTokenBytes, s.MaxUploadSize)
	}
	if s.S3PartSize < minPartSize || s.S3PartSize > maxPartSize {
		return fmt.Errorf("--s3-part-size: %v is outside the %v to %v that S3 accepts", s.S3PartSize, minPartSize, maxPartSize)
	}
	if s.SpillQuota > 0 && s.SpillUploadQuota == 0 {
		return errors.New("--spill-upload-quota: it must be greater than 0, unless --spill-quota is 0")
	}
	b, err := s.NewBudget(budget.SpillConfig{})
	if err != nil {
		return fmt.Errorf("--memory: %w", err)
	}
	if part := ByteSize(b.PartSize()); part*maxParts < s.MaxExpandedSize {
		return fmt.Errorf("--max-expanded-size: %v does not fit into an object, which has at most %d parts of %v: lower it, or raise --s3-part-size and --memory (at least six parts)",
			s.MaxExpandedSize, maxParts, part)
	}
	return nil
}

// NewBudget returns the budget of the settings, with the given disk.
func (s *Serve) NewBudget(spill budget.SpillConfig) (*budget.Budget, error) {
	return budget.New(budget.Config{
		Memory: int64(s.Memory), MaxPart: int64(s.S3PartSize), Uploads: s.MaxUploads, Needs: stream.Needs(s.MaxEntries, s.ReceiptsPrefix != ""), Wait: s.RoomWait, Spill: spill,
	})
}

func (s *Serve) checkTimes() error {
	for _, c := range []struct {
		flag  string
		value time.Duration
	}{
		{"room-wait", s.RoomWait},
		{"idle-timeout", s.IdleTimeout},
		{"upload-timeout", s.UploadTimeout},
		{"drain-timeout", s.DrainTimeout},
	} {
		if c.value <= 0 {
			return fmt.Errorf("--%s: %v is not greater than 0", c.flag, c.value)
		}
	}
	if s.DrainDelay < 0 {
		return fmt.Errorf("--drain-delay: %v is less than 0", s.DrainDelay)
	}
	// The second half of the age leaves time for publishing.
	if s.SweepAge/2 < s.UploadTimeout {
		return fmt.Errorf("--sweep-age: %v is less than twice the %v of --upload-timeout, so uploads under way would be aborted", s.SweepAge, s.UploadTimeout)
	}
	if s.SweepAge < minSweepAge && !s.Dev {
		return fmt.Errorf("--sweep-age: %v is less than %v, so longer uploads of other instances in the same bucket would be aborted. Only --dev allows less", s.SweepAge, minSweepAge)
	}
	return nil
}

func (s *Serve) checkExtensions() error {
	for i, e := range s.GzipExtensions {
		if !strings.HasPrefix(e, ".") || len(e) < 2 || strings.ContainsAny(e, "/ ") {
			return fmt.Errorf("--gzip-extensions: %q is not an extension such as .sym", e)
		}
		s.GzipExtensions[i] = strings.ToLower(e)
	}
	return nil
}
