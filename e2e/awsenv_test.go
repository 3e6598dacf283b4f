package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/badserver"
	"spillway/testdata/client"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// textFile writes a file that environment variables name.
func textFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noCredentials is an environment in which the AWS SDK finds nothing.
var noCredentials = []string{
	"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_REGION=", "AWS_DEFAULT_REGION=",
	"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "AWS_CA_BUNDLE=",
}

// keyPair is what services that give credentials answer with.
var keyPair = fmt.Sprintf(`{"Version": 1, "AccessKeyId": %q, "SecretAccessKey": %q, "Expiration": "2099-01-01T00:00:00Z"}`, s3server.AccessKey, s3server.SecretKey)

// stsAnswer is the answer of AWS's token service to AssumeRoleWithWebIdentity.
var stsAnswer = fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, s3server.AccessKey, s3server.SecretKey)

// answers serves one text, whatever is asked.
func answers(t *testing.T, text string) (address string) {
	t.Helper()
	return badserver.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
}

// The program finds the store, its credentials and whom to trust where the AWS SDK looks for
// them.
func TestAWSEnvironment(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	credentials := b.credentials()
	file := fmt.Sprintf("aws_access_key_id = %s\naws_secret_access_key = %s\n", b.AccessKey, b.SecretKey)
	front, err := s3fault.NewProxy(b.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	cert, bundle := badserver.Certificate(t, time.Hour, "127.0.0.1")
	secureURL := "https://" + badserver.HTTPS(t, cert, front)
	proxy := "http://" + badserver.HTTP(t, front)
	const region, here = "AWS_REGION=" + s3server.Region, "AWS_ENDPOINT_URL_S3="
	for _, c := range []struct {
		name string
		env  []string
	}{
		{"variables", append([]string{region, here + b.Endpoint}, credentials...)},
		{"AWS_ENDPOINT_URL and AWS_DEFAULT_REGION", append([]string{"AWS_DEFAULT_REGION=" + s3server.Region, "AWS_ENDPOINT_URL=" + b.Endpoint}, credentials...)},
		{"shared files", []string{
			"AWS_PROFILE=symbols",
			"AWS_SHARED_CREDENTIALS_FILE=" + textFile(t, "[symbols]\n"+file),
			"AWS_CONFIG_FILE=" + textFile(t, "[profile symbols]\nregion = "+s3server.Region+"\nendpoint_url = "+secureURL+"\nca_bundle = "+bundle+"\n[odd]\nregion = r\n"),
		}},
		{"credential_process", []string{region, here + b.Endpoint, "AWS_CONFIG_FILE=" + textFile(t, "[default]\ncredential_process = cat "+textFile(t, keyPair)+"\n")}},
		{"container", []string{region, here + b.Endpoint, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + answers(t, strings.Replace(keyPair, `"Version": 1, `, "", 1))}},
		{"web identity", []string{
			region, here + b.Endpoint, "AWS_ENDPOINT_URL_STS=http://" + answers(t, stsAnswer),
			"AWS_WEB_IDENTITY_TOKEN_FILE=" + textFile(t, "token"), "AWS_ROLE_ARN=arn:aws:iam::1:role/symbols",
		}},
		{"AWS_CA_BUNDLE", append([]string{region, here + secureURL, "AWS_CA_BUNDLE=" + bundle}, credentials...)},
		{"SSL_CERT_FILE", append([]string{region, here + secureURL, "SSL_CERT_FILE=" + bundle}, credentials...)},
		{"HTTP_PROXY", append([]string{region, here + "http://s3.example.com", "HTTP_PROXY=" + proxy}, credentials...)},
		{"NO_PROXY", append([]string{region, here + b.Endpoint, "HTTP_PROXY=http://" + badserver.Refusing(t), "NO_PROXY=127.0.0.1"}, credentials...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tokens := textFile(t, `{"tokens": []}`)
			d := start(t, append(append([]string{}, noCredentials...), c.env...), "--tokens-file="+tokens, "--s3-bucket="+b.Store.Bucket(t), "--s3-path-style", "--log-level=debug")
			if h := client.GetHeartbeat(t, d.API); h.Checks["storage"] != "ok" {
				t.Errorf("storage: %s", h.Message("storage"))
			}
			if c.name == "shared files" {
				awaitLog(t, d, `"msg":"AWS SDK"`, "`odd` is ignored")
			}
			for line := range strings.Lines(d.Log()) {
				if !strings.HasPrefix(line, "{") {
					t.Errorf("this is not the log's format: %s", line)
				}
			}
		})
	}
}

// An upload goes to a store with a certificate that only AWS_CA_BUNDLE knows.
func TestUploadOverTLS(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	front, err := s3fault.NewProxy(b.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	cert, bundle := badserver.Certificate(t, time.Hour, "127.0.0.1")
	d := start(t, append(b.credentials(), "AWS_CA_BUNDLE="+bundle), "--dev", "--s3-endpoint=https://"+badserver.HTTPS(t, cert, front), "--s3-bucket="+b.BucketName)
	if h := client.GetHeartbeat(t, d.API); h.Checks["storage"] != "ok" {
		t.Errorf("storage: %s", h.Message("storage"))
	}
	files := archive.Samples(3)
	if a := client.MustSend(t, d.API, "dev", archive.PythonZipfile(files...)); a.Status != http.StatusCreated {
		t.Fatalf("%+v", a)
	}
	b.WantStored(t, "v1/", files)
}

// A setting of the AWS SDK that cannot be used ends the start with one line that names it.
func TestBadAWSEnvironment(t *testing.T) {
	t.Parallel()
	if _, err := checked(); err != nil { // builds the program, which may take longer than the timeout below
		t.Fatal(err)
	}
	const region = "AWS_REGION=us-east-1"
	for _, c := range []struct {
		name string
		env  []string
		args string
		says string
	}{
		{"no region", nil, "", "s3: no region: set --s3-region, or AWS_REGION"},
		{"no such profile", []string{"AWS_PROFILE=nobody"}, "", `AWS_PROFILE: no shared configuration file of the AWS SDK has the profile "nobody"`},
		{"bundle, no file", []string{region, "AWS_CA_BUNDLE=/no/such/file"}, "", "AWS_CA_BUNDLE: open /no/such/file: no such file"},
		{"bundle without certificates", []string{region, "AWS_CA_BUNDLE=/dev/null"}, "", "AWS_CA_BUNDLE: /dev/null contains no certificate"},
		{"endpoint, no URL", []string{region, "AWS_ENDPOINT_URL_S3=localhost:9000"}, "", "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"},
		{"endpoint with a password", []string{region, "AWS_ENDPOINT_URL=http://user:SECRET@s3.example.com"}, "", "it contains a user or password"},
		{"endpoint with a password and a bad port", []string{region, "AWS_ENDPOINT_URL=http://user:SECRET@s3.example.com:port"}, "", "it is not a URL"},
		{"FIPS and an endpoint", []string{region, "AWS_USE_FIPS_ENDPOINT=true"}, "--s3-endpoint=http://127.0.0.1:1", "AWS_USE_FIPS_ENDPOINT"},
		{"FIPS where there is none", []string{"AWS_REGION=not a region", "AWS_USE_FIPS_ENDPOINT=true"}, "", "--s3-region"},
		{"dual stack and an endpoint", []string{region, "AWS_USE_DUALSTACK_ENDPOINT=true", "AWS_ENDPOINT_URL=http://127.0.0.1:1"}, "", "AWS_USE_DUALSTACK_ENDPOINT"},
		{"FIPS, no truth value", []string{region, "AWS_USE_FIPS_ENDPOINT=perhaps"}, "", "AWS_USE_FIPS_ENDPOINT"},
		{"attempts, a word", []string{region, "AWS_MAX_ATTEMPTS=many"}, "", "AWS_MAX_ATTEMPTS"},
		{"attempts, less than one", []string{region, "AWS_MAX_ATTEMPTS=-1"}, "", "AWS_MAX_ATTEMPTS: -1 is less than 1"},
		{"retry mode", []string{region, "AWS_RETRY_MODE=never"}, "", "never"},
		{"checksum calculation", []string{region, "AWS_REQUEST_CHECKSUM_CALCULATION=never"}, "", "AWS_REQUEST_CHECKSUM_CALCULATION"},
		{"checksum validation", []string{region, "AWS_RESPONSE_CHECKSUM_VALIDATION=never"}, "", "AWS_RESPONSE_CHECKSUM_VALIDATION"},
		{"region", []string{"AWS_REGION=eu west 1"}, "", "--s3-region"},
		{"bucket of an access point without a region", []string{region}, "--s3-bucket=arn:aws:s3:::x", "--s3-bucket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// A program that accepts the setting serves until the context ends.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			args := append([]string{"--s3-bucket=b", "--tokens-file=" + textFile(t, `{"tokens": []}`), "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, strings.Fields(c.args)...)
			status, stdout, stderr := runProgram(ctx, t, append(append([]string{}, noCredentials...), c.env...), args...)
			line, end, _ := strings.Cut(stderr, "\n")
			if status != 2 || !strings.HasPrefix(line, "spillway: ") || !strings.Contains(line, c.says) || end != "" || stdout != "" {
				t.Errorf("status %d, stderr %q, stdout %q; want 2 and one line that says %q", status, stderr, stdout, c.says)
			}
			if strings.Contains(stderr, "SECRET") {
				t.Errorf("the secret is in %q", stderr)
			}
		})
	}
}
