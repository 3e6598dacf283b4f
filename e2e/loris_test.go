package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// TestSlowLoris: 2,000 connections stall before their request, before their body, or in a
// body with an unknown token or with a token that may have two uploads at once. Only those
// two take memory of the budget, and other uploads are stored.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	const connections, turns, turnsOfOne, floor = 2000, 4, 2, 1 << 20
	s := startBeside(t, fmt.Sprintf("--max-uploads=%d", turns), fmt.Sprintf("--max-token-uploads=%d", turnsOfOne), "--memory=64MiB")
	address := strings.TrimPrefix(s.API, "http://")
	const (
		begun  = "POST /upload/ HTTP/1.1\r\nHost: x\r\n"
		sized  = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n"
		inPart = "--b\r\nContent-Disposition: form-data; name=\"a.zip\"; filename=\"a.zip\"\r\n\r\nPK\x03\x04"
	)
	kinds := []string{
		"",
		begun,
		begun + sized + "Auth-Token: guessed\r\n\r\n" + inPart,
		begun + sized + "Auth-Token: devtry\r\n\r\n" + inPart,
	}
	for n := range connections {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, kinds[n%len(kinds)]); err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(8) {
		zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(n), Data: archive.Symbols(n, 100_000)})
		if a := client.MustSend(t, s.API, "dev", zip); a.Status != 201 {
			t.Fatalf("%+v", a)
		}
	}
	// The answers of the last uploads keep some memory until the server has seen that they
	// were read.
	client.Until(t, "the memory of two uploads is in use", func() bool {
		use := counters(t, s.Admin, `spillway_memory_used_bytes\{use="(\w+)"\}`)
		return use["floors"] <= turnsOfOne*floor && use["leased"] == 0 && use["held"] == 0
	})
}
