package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/testdata/badserver"
	"spillway/testdata/client"
	"spillway/testdata/s3server"
)

// storeFault is a fault of the store, or of what says where the store is.
type storeFault struct {
	name  string
	setUp func(t *testing.T) (args, env []string)
	code  string // in the message
	says  string // in the message: what to do
}

// plain returns the flags for an endpoint over http.
func plain(address string) (args, env []string) {
	return []string{"--s3-endpoint=http://" + address}, nil
}

// secure returns the flags for an endpoint over https.
func secure(address string) (args, env []string) {
	return []string{"--s3-endpoint=https://" + address}, nil
}

// refuses returns a fault of a server that answers every request with an S3 error.
func refuses(f badserver.Refusal) func(*testing.T) (args, env []string) {
	return func(t *testing.T) (args, env []string) { return plain(badserver.HTTP(t, f)) }
}

// connectionFaults keep requests from reaching the store.
var connectionFaults = []storeFault{
	{"nobody listens", func(t *testing.T) (args, env []string) {
		return plain(badserver.Refusing(t))
	}, "connection refused", "--s3-endpoint"},
	{"no such host", func(*testing.T) (args, env []string) {
		// No name server is asked for a name that is too long for one.
		return []string{"--s3-endpoint=http://" + strings.Repeat("a.", 125) + "host:9000"}, []string{"GODEBUG=netdns=go"}
	}, "no such host", "DNS"},
	{"connecting hangs", func(t *testing.T) (args, env []string) {
		return plain(badserver.Deaf(t))
	}, "no connection in time", "firewall"},
	{"the answer never comes", func(t *testing.T) (args, env []string) {
		return plain(badserver.Silent(t))
	}, "no answer in time", "too slow"},
	{"the TLS handshake hangs", func(t *testing.T) (args, env []string) {
		return secure(badserver.Silent(t))
	}, "no TLS handshake in time", "https"},
	{"connections are closed", func(t *testing.T) (args, env []string) {
		return plain(badserver.Closing(t))
	}, "connection lost", "closes connections"},
	{"another protocol", func(t *testing.T) (args, env []string) {
		return plain(badserver.Mail(t))
	}, "no valid answer", "--s3-endpoint"},
	{"a web site", func(t *testing.T) (args, env []string) {
		return plain(badserver.HTTP(t, http.HandlerFunc(badserver.Website)))
	}, "HTTP 405", "--s3-endpoint"},
	{"https to a plain port", func(t *testing.T) (args, env []string) {
		return secure(badserver.HTTP(t, http.NotFoundHandler()))
	}, "the port does not speak TLS", "http://"},
	{"https to another protocol", func(t *testing.T) (args, env []string) {
		return secure(badserver.Mail(t))
	}, "the port does not speak TLS", "http://"},
	{"http to a TLS port", func(t *testing.T) (args, env []string) {
		cert, _ := badserver.Certificate(t, time.Hour, "127.0.0.1")
		return plain(badserver.HTTPS(t, cert, http.NotFoundHandler()))
	}, "the port speaks TLS", "https://"},
	{"http to a TLS port that sends an alert", func(t *testing.T) (args, env []string) {
		return plain(badserver.Alerting(t))
	}, "the port speaks TLS", "https://"},
	{"unknown CA", func(t *testing.T) (args, env []string) {
		cert, _ := badserver.Certificate(t, time.Hour, "127.0.0.1")
		return secure(badserver.HTTPS(t, cert, http.NotFoundHandler()))
	}, "unknown certificate authority", "AWS_CA_BUNDLE"},
	{"expired certificate", func(t *testing.T) (args, env []string) {
		cert, file := badserver.Certificate(t, -time.Hour, "127.0.0.1")
		args, _ = secure(badserver.HTTPS(t, cert, http.NotFoundHandler()))
		return args, []string{"SSL_CERT_FILE=" + file}
	}, "certificate expired or not yet valid", "clock"},
	{"certificate for another host", func(t *testing.T) (args, env []string) {
		cert, file := badserver.Certificate(t, time.Hour, "s3.example.com")
		args, _ = secure(badserver.HTTPS(t, cert, http.NotFoundHandler()))
		return args, []string{"SSL_CERT_FILE=" + file}
	}, "certificate for another host", "--s3-path-style"},
	{"a proxy that is down", func(t *testing.T) (args, env []string) {
		return []string{"--s3-endpoint=https://s3.example.com"}, []string{"HTTPS_PROXY=http://" + badserver.Refusing(t)}
	}, "no connection to the proxy", "HTTPS_PROXY"},
	{"a proxy that refuses", func(t *testing.T) (args, env []string) {
		proxy := badserver.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
		return []string{"--s3-endpoint=https://s3.example.com"}, []string{"HTTPS_PROXY=http://" + proxy}
	}, "refused by the proxy", "HTTPS_PROXY"},
	{"no credentials", func(t *testing.T) (args, env []string) {
		args, _ = plain(badserver.Silent(t))
		return args, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=true"}
	}, "no credentials", "AWS_ACCESS_KEY_ID"},
	{"credentials that are refused", func(t *testing.T) (args, env []string) {
		args, _ = plain(badserver.Silent(t))
		refusing := badserver.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
		return args, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + refusing}
	}, "no credentials", "AWS_ACCESS_KEY_ID"},
	{"credentials that do not come", func(t *testing.T) (args, env []string) {
		args, _ = plain(badserver.Silent(t))
		return args, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + badserver.Silent(t)}
	}, "no credentials", "AWS_ACCESS_KEY_ID"},
}

// refusals are errors that S3 answers with.
var refusals = []storeFault{
	{"wrong secret", func(t *testing.T) (args, env []string) {
		args, _ = plain(realStore(t))
		return args, []string{"AWS_ACCESS_KEY_ID=" + s3server.AccessKey, "AWS_SECRET_ACCESS_KEY=wrong"}
	}, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"},
	{"unknown access key", func(t *testing.T) (args, env []string) {
		args, _ = plain(realStore(t))
		return args, []string{"AWS_ACCESS_KEY_ID=nobody"}
	}, "XAdminUserNotFound", "access key"}, // versitygw's InvalidAccessKeyId
	{"wrong region", func(t *testing.T) (args, env []string) {
		args, _ = plain(realStore(t))
		return append(args, "--s3-region=eu-west-1"), nil
	}, "AuthorizationHeaderMalformed", "--s3-region"},
	{"wrong bucket", func(t *testing.T) (args, env []string) {
		args, _ = plain(realStore(t))
		return append(args, "--s3-bucket=no-such-bucket"), nil
	}, "NoSuchBucket", "--s3-bucket"},
	{"wrong region of AWS", refuses(badserver.Refusal{Status: 400, Code: "AuthorizationHeaderMalformed", Fields: "<Region>eu-central-1</Region>"}), "AuthorizationHeaderMalformed", "eu-central-1"},
	{"bucket in another region of AWS", refuses(badserver.Refusal{
		Status: 301, Code: "PermanentRedirect", Header: http.Header{"X-Amz-Bucket-Region": {"ap-south-1"}},
	}), "PermanentRedirect", "ap-south-1"},
	{"clock", refuses(badserver.Refusal{
		Status: 403, Code: "RequestTimeTooSkewed", Header: http.Header{"Date": {time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat)}},
	}), "RequestTimeTooSkewed", "It is 2h"},
	{"unknown access key of AWS", refuses(badserver.Refusal{Status: 403, Code: "InvalidAccessKeyId"}), "InvalidAccessKeyId", "access key"},
	{"permission", refuses(badserver.Refusal{Status: 403, Code: "AccessDenied"}), "AccessDenied", "s3:GetObject"},
	{"expired credentials", refuses(badserver.Refusal{Status: 400, Code: "ExpiredToken"}), "ExpiredToken", "credentials"},
	{"invalid session token", refuses(badserver.Refusal{Status: 400, Code: "InvalidToken"}), "InvalidToken", "AWS_SESSION_TOKEN"},
	{"too many requests", refuses(badserver.Refusal{Status: 503, Code: "SlowDown"}), "SlowDown", "overloaded"},
	{"broken", refuses(badserver.Refusal{Status: 500, Code: "InternalError"}), "InternalError", "has failed"},
	{"account", refuses(badserver.Refusal{Status: 403, Code: "AccountProblem"}), "AccountProblem", "account"},
	{"not S3's error", refuses(badserver.Refusal{Status: 403, Code: "<b>no</b>"}), "HTTP 403", "not an answer of S3"},
}

// realStore starts a real S3 server and returns its address. It has the bucket "symbols".
func realStore(t *testing.T) (address string) {
	t.Helper()
	server := s3server.Start(t)
	address, _ = strings.CutPrefix(server.Endpoint, "http://")
	return address
}

// The heartbeat, the log and the command check name what is wrong with the store, and what to
// do.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	for _, f := range append(connectionFaults, refusals...) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			args, env := f.setUp(t)
			args = append([]string{"--dev"}, args...)
			env = append([]string{"AWS_CA_BUNDLE=", "AWS_ACCESS_KEY_ID=" + s3server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s3server.SecretKey}, env...)
			awaitCheck := startCheck(t, env, args...)
			d := start(t, env, args...)
			began := time.Now()
			h := client.GetHeartbeat(t, d.API)
			took := time.Since(began)
			m := h.Message("storage")
			t.Logf("FAULT %s | %v | %s", f.name, took.Round(100*time.Millisecond), m)
			if h.Status != http.StatusInternalServerError || !strings.Contains(m, "failed: "+f.code+".") || !strings.Contains(m, f.says) {
				t.Errorf("%d %q; want 500, %q and %q", h.Status, m, f.code, f.says)
			}
			line, err := d.AwaitLog(client.Within(t), "the store does not take what uploads bring")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(line, f.code) || !strings.Contains(line, f.says) {
				t.Errorf("the log says %s; want %q and %q", line, f.code, f.says)
			}
			status, report := awaitCheck()
			if failed := report.failing("s3"); status != statusFailed || !slices.ContainsFunc(failed, func(c checkRow) bool {
				return strings.Contains(c.Found, "failed: "+f.code+".") && strings.Contains(c.Found+" "+c.Remedy, f.says)
			}) {
				t.Errorf("the check: %d, %+v; want %d, %q and %q", status, failed, statusFailed, f.code, f.says)
			}
		})
	}
}
