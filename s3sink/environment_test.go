package s3sink_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// sdkFile writes a file for the AWS SDK.
func sdkFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ofAWS makes the SDK's environment decide on the region and the endpoint.
func ofAWS(cfg *s3sink.Config) { cfg.Region, cfg.Endpoint, cfg.PathStyle = "", "", false }

// TestEnvironmentOfSDK checks which settings of the AWS SDK change a request, and how.
func TestEnvironmentOfSDK(t *testing.T) {
	none := func(*s3sink.Config) {}
	for _, c := range []struct {
		name   string
		env    map[string]string
		config string // the shared configuration file
		adjust func(*s3sink.Config)
		url    string // of a PutObject
		header string // and a line of its header
	}{
		{"AWS_REGION", map[string]string{"AWS_REGION": "eu-west-1"}, "", ofAWS, "https://bucket.s3.eu-west-1.amazonaws.com/", "/eu-west-1/s3/"},
		{"AWS_DEFAULT_REGION", map[string]string{"AWS_DEFAULT_REGION": "eu-west-1"}, "", ofAWS, "https://bucket.s3.eu-west-1.amazonaws.com/", "/eu-west-1/s3/"},
		{"region", nil, "region = eu-west-1", ofAWS, "https://bucket.s3.eu-west-1.amazonaws.com/", "/eu-west-1/s3/"},
		{"--s3-region before AWS_REGION", map[string]string{"AWS_REGION": "eu-west-1"}, "", none, "http://127.0.0.1:1/bucket/", "/us-east-1/s3/"},
		{"AWS_REGION before the default of --dev", map[string]string{"AWS_REGION": "eu-west-1"}, "", func(cfg *s3sink.Config) {
			ofAWS(cfg)
			cfg.DefaultRegion = "us-east-1"
		}, "https://bucket.s3.eu-west-1.amazonaws.com/", "/eu-west-1/s3/"},
		{"the default of --dev", nil, "", func(cfg *s3sink.Config) {
			ofAWS(cfg)
			cfg.DefaultRegion = "us-east-1"
		}, "https://bucket.s3.us-east-1.amazonaws.com/", "/us-east-1/s3/"},
		{"AWS_ENDPOINT_URL", map[string]string{"AWS_REGION": "r", "AWS_ENDPOINT_URL": "http://127.0.0.2:2"}, "", ofAWS, "http://127.0.0.2:2/bucket/", "/r/s3/"},
		{"endpoint_url", map[string]string{"AWS_REGION": "r"}, "endpoint_url = https://s3.example.com", ofAWS, "https://bucket.s3.example.com/", "/r/s3/"},
		{"services", map[string]string{"AWS_REGION": "r"}, "services = x\n[services x]\ns3 =\n  endpoint_url = https://s3.example.com", ofAWS, "https://bucket.s3.example.com/", "/r/s3/"},
		{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", map[string]string{"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.2:2", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "", ofAWS, "https://bucket.s3.eu-west-1.amazonaws.com/", ""},
		{"AWS_USE_FIPS_ENDPOINT", map[string]string{"AWS_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true"}, "", ofAWS, "https://bucket.s3-fips.us-east-1.amazonaws.com/", ""},
		{"AWS_USE_DUALSTACK_ENDPOINT", map[string]string{"AWS_REGION": "us-east-1", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, "", ofAWS, "https://bucket.s3.dualstack.us-east-1.amazonaws.com/", ""},
		{"AWS_SDK_UA_APP_ID", map[string]string{"AWS_SDK_UA_APP_ID": "symbols"}, "", none, "http://127.0.0.1:1/bucket/", "app/symbols"},
		{"AWS_REQUEST_CHECKSUM_CALCULATION", map[string]string{"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}, "", none, "http://127.0.0.1:1/bucket/", "X-Amz-Checksum-Crc32: "},
		{"AWS_RESPONSE_CHECKSUM_VALIDATION", map[string]string{"AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}, "", none, "http://127.0.0.1:1/bucket/", "X-Amz-Checksum-Crc32: "},
		{"AWS_DEFAULTS_MODE", map[string]string{"AWS_DEFAULTS_MODE": "in-region"}, "", none, "http://127.0.0.1:1/bucket/", ""},
		{"AWS_SESSION_TOKEN", map[string]string{"AWS_ACCESS_KEY_ID": "key2", "AWS_SECRET_ACCESS_KEY": "secret2", "AWS_SESSION_TOKEN": "token2"}, "", func(cfg *s3sink.Config) { cfg.AccessKey = "" }, "http://127.0.0.1:1/bucket/", "X-Amz-Security-Token: token2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("AWS_CONFIG_FILE", sdkFile(t, "[default]\n"+c.config))
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			store := &fakeStore{}
			r := newFakeRig(t, store, c.adjust)
			f := file{name: "a/1/b", form: stream.AsIs, data: data(10, 1)}
			if _, err := r.upload(t, f); err != nil {
				t.Fatal(err)
			}
			put := store.sent("PutObject")[0]
			var header strings.Builder
			if err := put.header.Write(&header); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(put.url, c.url) || !strings.Contains(header.String(), c.header) {
				t.Errorf("sent to %s\n%s\nwant %s and %q", put.url, header.String(), c.url, c.header)
			}
		})
	}
}

// TestChecksumsAreOurs checks that the SDK's settings for checksums change no request: what is
// sent depends on what the store takes.
func TestChecksumsAreOurs(t *testing.T) {
	sums := func(mode string) []string {
		t.Setenv("AWS_REQUEST_CHECKSUM_CALCULATION", mode)
		t.Setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", mode)
		store := &fakeStore{}
		r := newFakeRig(t, store, nil)
		if _, err := r.upload(t, mixed(r.budget.PartSize())...); err != nil {
			t.Fatal(err)
		}
		if err := r.sink.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, operation := range append([]string{"CompleteMultipartUpload"}, probeOperations...) {
			for _, req := range store.sent(operation) {
				for name, values := range req.header {
					if lower := strings.ToLower(name); strings.Contains(lower, "checksum") || lower == "content-md5" {
						all = append(all, fmt.Sprint(operation, " ", req.length, " ", lower, " ", values))
					}
				}
			}
		}
		slices.Sort(all)
		return all
	}
	supported, required := sums("when_supported"), sums("when_required")
	if len(supported) < 10 || fmt.Sprint(supported) != fmt.Sprint(required) {
		t.Errorf("when_supported: %q\nwhen_required: %q", supported, required)
	}
}

// TestAttemptsOfSDK checks that AWS_MAX_ATTEMPTS changes the attempts of uploads, and not those
// of probes.
func TestAttemptsOfSDK(t *testing.T) {
	for value, want := range map[string]int{"": 5, "0": 5, "1": 1, "3": 3, "7": 7} {
		t.Setenv("AWS_MAX_ATTEMPTS", value)
		t.Setenv("AWS_RETRY_MODE", "adaptive") // as always
		synctest.Test(t, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
				if op == "PutObject" {
					return refuse(500, "InternalError"), nil
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.MaxBackoff, cfg.TryPrefix = time.Millisecond, cfg.Prefix })
			_, err := r.upload(t, small("a", 1)...)
			wantStoreError(t, err)
			if n := store.count("PutObject"); n != want {
				t.Errorf("AWS_MAX_ATTEMPTS=%s: %d attempts, want %d", value, n, want)
			}
			wantStoreError(t, r.sink.Probe(t.Context()))
			if n := store.count("PutObject") - want; n != 2 {
				t.Errorf("AWS_MAX_ATTEMPTS=%s: %d attempts of a probe, want 2", value, n)
			}
		})
	}
}

// TestWarningsOfSDK checks that what the SDK says about its configuration goes to OnSDKLog.
func TestWarningsOfSDK(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", sdkFile(t, "[default]\n[odd]\nregion = r\n"))
	var said []string
	newFakeRig(t, &fakeStore{}, func(cfg *s3sink.Config) {
		cfg.OnSDKLog = func(_ bool, message string) { said = append(said, message) }
	})
	if len(said) == 0 || !strings.Contains(said[0], "`odd` is ignored") {
		t.Errorf("said: %q", said)
	}
}

// TestSettingsOfSDKInDocs checks that docs/operations.md says what becomes of each variable
// that this version of the SDK reads.
func TestSettingsOfSDKInDocs(t *testing.T) {
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/config").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "env_config.go"))
	if err != nil {
		t.Fatal(err)
	}
	variables := regexp.MustCompile(`= "(AWS_[A-Z0-9_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(variables) < 30 {
		t.Errorf("the SDK reads only %q", variables)
	}
	for _, v := range variables {
		if !strings.Contains(string(doc), "`"+v[1]+"`") {
			t.Errorf("docs/operations.md does not say what becomes of %s", v[1])
		}
	}
}
