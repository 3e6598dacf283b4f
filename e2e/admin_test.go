package e2e

import (
	"net/http"
	"testing"

	"spillway/testdata/client"
)

// The admin listener answers to its address, localhost and the names it was given.
func TestAdminHosts(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t, "--admin-hosts=spillway.internal,metrics.example.com")
	for host, want := range map[string]int{
		"": http.StatusOK, "localhost": http.StatusOK, "metrics.example.com:1234": http.StatusOK, "spillway.internal": http.StatusOK,
		"evil.example.com": http.StatusMisdirectedRequest, "127.0.0.1.evil.example.com": http.StatusMisdirectedRequest,
	} {
		r, err := http.NewRequestWithContext(client.Within(t), http.MethodGet, s.Admin+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host // if it is empty, that of the URL
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q: %s, want %d", host, resp.Status, want)
		}
	}
}
