package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"spillway/testdata/client"
)

// TestRefusalIsReadAfterALongBody checks that a client without a token gets its 403, though
// it reads nothing before it has sent everything, as most clients do: over TLS as well,
// where a connection that is closed early becomes a TLS error.
func TestRefusalIsReadAfterALongBody(t *testing.T) {
	t.Parallel()
	d := startHTTPS(t)
	const mebibytes = 200
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(client.Within(t), "tcp", strings.TrimPrefix(d.API, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: nobody\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n", mebibytes<<20)
	mebibyte := make([]byte, 1<<20)
	for n := range mebibytes {
		if _, err := conn.Write(mebibyte); err != nil {
			t.Fatalf("after %d MiB: %v", n, err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
}
