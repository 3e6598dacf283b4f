package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// sender is who sent an upload, as the log tells it.
type sender struct {
	RequestID     string `json:"request_id"`
	User          string `json:"user"`
	TokenDigest   string `json:"token_digest"`
	ClientAddress string `json:"client_address"`
	UserAgent     string `json:"user_agent"`
}

// sendAs uploads an archive with a header, and returns the status and the request ID of the
// answer.
func sendAs(t *testing.T, api string, header map[string]string) (status int, requestID string) {
	t.Helper()
	good := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 2000)})
	body, contentType := client.Form(good)
	req, err := http.NewRequestWithContext(client.Within(t), http.MethodPost, api+"/upload/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("X-Request-ID")
}

// The log and the live page tell who sent an upload.
func TestWhoSentWhat(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.json")
	const email = "ci@example.com"
	token, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email="+email)
	token = strings.TrimSpace(token)
	list, _ := command(t, 0, "token", "list", "--tokens-file="+file)
	digest := strings.Split(list, "\n")[1][:8]
	direct := startWithTokens(t, file)
	behind := startWithTokens(t, file, "--trusted-proxies=127.0.0.0/8,10.0.0.0/8")

	const forwarded = "192.0.2.66, 198.51.100.7, 10.0.0.2"
	for _, c := range []struct {
		name   string
		system system
		header map[string]string
		status int
		want   sender // without the request ID
	}{
		{
			"a token", direct,
			map[string]string{"Auth-Token": token, "User-Agent": "upload-symbols/0.3"},
			201,
			sender{User: email, TokenDigest: digest, ClientAddress: "127.0.0.1", UserAgent: "upload-symbols/0.3"},
		},
		{
			"a token with a label, and a field that nobody asked for", direct,
			map[string]string{"Auth-Token": token + "-build-7", "User-Agent": "curl/8.5", "X-Forwarded-For": forwarded},
			201,
			sender{User: email, TokenDigest: digest, ClientAddress: "127.0.0.1", UserAgent: "curl/8.5"},
		},
		{
			"X-Forwarded-For", behind,
			map[string]string{"Auth-Token": token, "User-Agent": "curl/8.5", "X-Forwarded-For": forwarded},
			201,
			sender{User: email, TokenDigest: digest, ClientAddress: "198.51.100.7", UserAgent: "curl/8.5"},
		},
		{
			"Forwarded", behind,
			map[string]string{"Auth-Token": token, "User-Agent": "curl/8.5", "Forwarded": `for="[2001:db8::1]:4711";proto=https`},
			201,
			sender{User: email, TokenDigest: digest, ClientAddress: "2001:db8::1", UserAgent: "curl/8.5"},
		},
		{
			"an old token", behind,
			map[string]string{"Auth-Token": "old-build-7", "User-Agent": "curl/8.5", "X-Forwarded-For": forwarded},
			403,
			sender{TokenDigest: "cba06b57", ClientAddress: "198.51.100.7", UserAgent: "curl/8.5"}, // of "old"
		},
		{
			"a hostile user agent", direct,
			map[string]string{"Auth-Token": token, "User-Agent": "<b>\xff\u202e\u009b31m" + strings.Repeat("x", 9000)},
			201,
			sender{User: email, TokenDigest: digest, ClientAddress: "127.0.0.1", UserAgent: "<b>���31m" + strings.Repeat("x", 182) + "…"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.RequestID = strings.ReplaceAll(t.Name(), "_", "-")
			c.want.RequestID = strings.ReplaceAll(c.want.RequestID, ",", "")
			c.header["X-Request-ID"] = c.want.RequestID
			status, answered := sendAs(t, c.system.API, c.header)
			if status != c.status || answered != c.want.RequestID {
				t.Errorf("status %d and request ID %q, want %d and %q", status, answered, c.status, c.want.RequestID)
			}
			line, err := c.system.AwaitLog(client.Within(t), `"msg":"upload"`, c.want.RequestID)
			if err != nil {
				t.Fatal(err)
			}
			var got sender
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if got != c.want {
				t.Errorf("the log has %+v, want %+v", got, c.want)
			}
			shown := c.want
			shown.User = "" // in the log only
			if all := shownSenders(t, c.system.Admin); !slices.Contains(all, shown) {
				t.Errorf("the live page has %+v, and not %+v", all, shown)
			}
		})
	}
}

// shownSenders returns the senders of the ended uploads and of the refused tokens on the live
// page.
func shownSenders(t *testing.T, admin string) (all []sender) {
	t.Helper()
	type shown struct {
		Sender struct {
			sender

			Address string
		}
	}
	var page struct{ Ended, Refusals []shown }
	_, data, _ := strings.Cut(livePage(t, admin), "data: ")
	if err := json.Unmarshal([]byte(data), &page); err != nil {
		t.Fatal(err)
	}
	for _, s := range slices.Concat(page.Ended, page.Refusals) {
		s.Sender.ClientAddress = s.Sender.Address
		all = append(all, s.Sender.sender)
	}
	return all
}

// Every answer has a request ID: the client's if it is well-formed.
func TestRequestIDOfEveryAnswer(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	for _, c := range []struct {
		name, method, path string
		header             map[string]string
		status             int
	}{
		{"refused", http.MethodPost, "/upload/", nil, 403},
		{"not a form", http.MethodPost, "/upload/", map[string]string{"Auth-Token": "dev"}, 400},
		{"auth_info", http.MethodPost, "/upload/auth_info/", map[string]string{"Auth-Token": "dev"}, 200},
		{"auth_info refused", http.MethodPost, "/upload/auth_info/", nil, 403},
		{"another method", http.MethodGet, "/upload/", nil, 405},
		{"another path", http.MethodGet, "/nothing", nil, 404},
		{"a long header", http.MethodGet, "/nothing", map[string]string{"X-Long": strings.Repeat("x", 16<<10)}, 431},
		{"the load balancer's probe", http.MethodGet, "/__lbheartbeat__", nil, 200},
		{"heartbeat", http.MethodGet, "/__heartbeat__", nil, 200},
		{"version", http.MethodHead, "/__version__", nil, 200},
		{"a probe with another method", http.MethodDelete, "/__version__", nil, 405},
		{"a panic", http.MethodGet, "/__error__", map[string]string{"Auth-Token": "dev"}, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			for given, kept := range map[string]bool{"": false, "well-formed:/" + c.method: true, "not well formed": false} {
				req, err := http.NewRequestWithContext(client.Within(t), c.method, s.API+c.path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				for name, value := range c.header {
					req.Header.Set(name, value)
				}
				if given != "" {
					req.Header.Set("X-Request-ID", given)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				got := resp.Header.Values("X-Request-ID")
				if resp.StatusCode != c.status || len(got) != 1 || got[0] == "" || (got[0] == given) != kept {
					t.Errorf("%q: status %d, request ID %q, want %d", given, resp.StatusCode, got, c.status)
				}
			}
		})
	}
	awaitLog(t, s.Daemon, `"msg":"panic"`, `"request_id":"well-formed:/GET"`)
}
