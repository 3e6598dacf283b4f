package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"spillway/testdata/archive"
)

// TestSlowLoris: connections that never come to their request, or to their
// body, and have no token, take neither memory of the budget nor turns.
func TestSlowLoris(t *testing.T) {
	s := startBeside(t, "--max-uploads=4", "--memory=64MiB")
	address := strings.TrimPrefix(s.API, "http://")
	for n := range 2000 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begin := "POST /upload/ HTTP/1.1\r\nHost: x\r\n"
		if n%2 == 1 {
			begin += "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\nAuth-Token: guessed\r\n\r\n--b"
		}
		if _, err := fmt.Fprint(conn, begin); err != nil {
			t.Fatal(err)
		}
	}
	for use, n := range counters(t, s.Admin, `spillway_memory_used_bytes\{use="(\w+)"\}`) {
		if n != 0 {
			t.Errorf("%d bytes of the memory are in use: %s", n, use)
		}
	}
	for n := range uint64(8) {
		zip := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(n), Data: archive.Symbols(n, 100_000)})
		if a := mustSend(t, s.API, "dev", zip); a.status != 201 {
			t.Fatalf("%+v", a)
		}
	}
}
