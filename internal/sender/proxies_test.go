package sender

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// trusted are the proxies of the tests.
var trusted = Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10")}

const (
	proxy    = "10.0.0.1:4000" // trusted
	stranger = "203.0.113.9:4000"
)

// lines are the header fields of a list, in order.
type lines []string

// clientOf returns the client of a request from peer.
func clientOf(t *testing.T, proxies Proxies, peer string, forwardedFor, forwarded lines) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/upload/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = peer
	for _, line := range forwardedFor {
		r.Header.Add("X-Forwarded-For", line)
	}
	for _, line := range forwarded {
		r.Header.Add("Forwarded", line)
	}
	return proxies.client(r).String()
}

// TestPeer: without trusted proxies, and for peers that are none, the client is the peer,
// whatever the header says.
func TestPeer(t *testing.T) {
	for _, c := range []struct {
		name    string
		proxies Proxies
		peer    string
		want    string
	}{
		{"a stranger", trusted, stranger, "203.0.113.9"},
		{"a stranger over IPv6", trusted, "[2001:db8::9]:4000", "2001:db8::9"},
		{"no proxy is trusted", nil, proxy, "10.0.0.1"},
		{"IPv4 in IPv6", nil, "[::ffff:203.0.113.9]:4000", "203.0.113.9"},
		{"with a zone", nil, "[fe80::1%eth0]:4000", "fe80::1"},
		{"no address", trusted, "@", "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, forwardedFor := range []lines{nil, {"198.51.100.1"}} {
				for _, forwarded := range []lines{nil, {"for=198.51.100.1"}} {
					if got := clientOf(t, c.proxies, c.peer, forwardedFor, forwarded); got != c.want {
						t.Errorf("%q, %q: got %s, want %s", forwardedFor, forwarded, got, c.want)
					}
				}
			}
		})
	}
}

// TestTrustedPeers: each of these peers is believed.
func TestTrustedPeers(t *testing.T) {
	for _, peer := range []string{proxy, "[::ffff:10.0.0.1]:4000", "[fd00::1]:4000", "[fe80::1%eth0]:4000"} {
		if got := clientOf(t, trusted, peer, lines{"198.51.100.1"}, nil); got != "198.51.100.1" {
			t.Errorf("%s: got %s", peer, got)
		}
	}
}

// TestForwardedFor: X-Forwarded-For, behind a trusted proxy.
func TestForwardedFor(t *testing.T) {
	for _, c := range []struct {
		name string
		list lines
		want string
	}{
		{"one client", lines{"198.51.100.1"}, "198.51.100.1"},
		{"what the client claimed comes first", lines{"192.0.2.66, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", lines{"192.0.2.66, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"two lines", lines{"192.0.2.66", "198.51.100.1"}, "198.51.100.1"},
		{"two lines, two proxies", lines{"192.0.2.66, 198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"proxies only: the furthest", lines{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no spaces", lines{"192.0.2.66,198.51.100.1"}, "198.51.100.1"},
		{"tabs", lines{"192.0.2.66,\t198.51.100.1\t"}, "198.51.100.1"},
		{"IPv6", lines{"2001:DB8:0::1"}, "2001:db8::1"},
		{"IPv6 in brackets", lines{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv4 in IPv6", lines{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a proxy as IPv4 in IPv6", lines{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		{"a zone", lines{"fe90::1%eth0, 198.51.100.1, fe80::1%eth0"}, "198.51.100.1"},
		{"a port", lines{"198.51.100.1:4711"}, "198.51.100.1"},
		{"a port after IPv6", lines{"[2001:db8::1]:4711"}, "2001:db8::1"},

		// The rest names no client. It is the proxy whose word was the last.
		{"empty", lines{""}, "10.0.0.1"},
		{"no address", lines{"client"}, "10.0.0.1"},
		{"a name", lines{"client.example.com"}, "10.0.0.1"},
		{"unknown", lines{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"an empty element at the end", lines{"198.51.100.1, "}, "10.0.0.1"},
		{"an empty line at the end", lines{"198.51.100.1", ""}, "10.0.0.1"},
		{"garbage before a proxy", lines{"198.51.100.1, garbage, 10.0.0.2"}, "10.0.0.2"},
		{"two addresses without a comma", lines{"198.51.100.1 198.51.100.2"}, "10.0.0.1"},
		{"quotes", lines{`"198.51.100.1"`}, "10.0.0.1"},
		{"leading zeros", lines{"198.051.100.001"}, "10.0.0.1"},
		{"a number", lines{"3325256705"}, "10.0.0.1"},
		{"a network", lines{"198.51.100.0/24"}, "10.0.0.1"},
		{"no port after the colon", lines{"198.51.100.1:"}, "10.0.0.1"},
		{"a large port", lines{"198.51.100.1:65536"}, "10.0.0.1"},
		{"a signed port", lines{"198.51.100.1:+80"}, "10.0.0.1"},
		{"an open bracket", lines{"[2001:db8::1"}, "10.0.0.1"},
		{"text after a bracket", lines{"[2001:db8::1]4711"}, "10.0.0.1"},
		{"IPv4 in brackets", lines{"[198.51.100.1]"}, "10.0.0.1"},
		{"the unspecified address", lines{"0.0.0.0"}, "10.0.0.1"},
		{"the unspecified address of IPv6", lines{"::"}, "10.0.0.1"},
		{"a long list", lines{strings.Repeat("192.0.2.66, ", 1000) + "198.51.100.1"}, "198.51.100.1"},
		{"a long list of proxies", lines{strings.Repeat("10.0.0.2, ", 1000) + "10.0.0.3"}, "10.0.0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clientOf(t, trusted, proxy, c.list, nil); got != c.want {
				t.Errorf("%q: got %s, want %s", c.list, got, c.want)
			}
		})
	}
}

// TestForwarded: Forwarded (RFC 7239), behind a trusted proxy.
func TestForwarded(t *testing.T) {
	for _, c := range []struct {
		name string
		list lines
		want string
	}{
		{"one client", lines{"for=198.51.100.1"}, "198.51.100.1"},
		{"in quotes", lines{`for="198.51.100.1"`}, "198.51.100.1"},
		{"case", lines{"For=198.51.100.1;PROTO=https"}, "198.51.100.1"},
		{"a port", lines{"for=198.51.100.1:4711"}, "198.51.100.1"},
		{"a made-up port", lines{`for="198.51.100.1:_web"`}, "198.51.100.1"},
		{"IPv6", lines{`for="[2001:db8::1]"`}, "2001:db8::1"},
		{"IPv6 with a port", lines{`for="[2001:db8::1]:4711"`}, "2001:db8::1"},
		{"IPv6 without quotes, as some proxies write it", lines{"for=[2001:db8::1]:4711"}, "2001:db8::1"},
		{"other parameters", lines{`by=10.0.0.1;for=198.51.100.1;host="a;b,c=d";proto=https`}, "198.51.100.1"},
		{"empty parameters", lines{";for=198.51.100.1;;"}, "198.51.100.1"},
		{"spaces", lines{` for = 198.51.100.1 ; proto = "https" `}, "198.51.100.1"},
		{"escapes", lines{`for="198.51.1\00.1";host="a\"b\\"`}, "198.51.100.1"},
		{"what the client claimed comes first", lines{"for=192.0.2.66, for=198.51.100.1"}, "198.51.100.1"},
		{"two proxies", lines{`for=192.0.2.66, for=198.51.100.1;by="[fd00::1]", for="[fd00::1]"`}, "198.51.100.1"},
		{"two lines", lines{"for=192.0.2.66", "for=198.51.100.1"}, "198.51.100.1"},
		{"proxies only: the furthest", lines{"for=10.0.0.3, for=10.0.0.2"}, "10.0.0.3"},
		{"the client opened a quote", lines{`for=192.0.2.66;host=", for="[2001:db8::1]"`}, "2001:db8::1"},
		{"the client opened a quote before one without", lines{`for="192.0.2.66, for=198.51.100.1`}, "198.51.100.1"},
		{"the client opened a quote in a line", lines{`for="192.0.2.66`, "for=198.51.100.1"}, "198.51.100.1"},
		{"the client ended with a backslash", lines{`for="192.0.2.66\, for="198.51.100.1"`}, "198.51.100.1"},

		// The rest names no client. It is the proxy whose word was the last.
		{"empty", lines{""}, "10.0.0.1"},
		{"unknown", lines{"for=198.51.100.1, for=unknown"}, "10.0.0.1"},
		{"a made-up name", lines{"for=198.51.100.1, for=_hidden"}, "10.0.0.1"},
		{"a made-up name in quotes", lines{`for="_SEVKISEK"`}, "10.0.0.1"},
		{"a made-up name before a proxy", lines{"for=_hidden, for=10.0.0.2"}, "10.0.0.2"},
		{"no for", lines{"for=198.51.100.1, by=10.0.0.1;proto=http"}, "10.0.0.1"},
		{"two fors", lines{"for=198.51.100.1;for=198.51.100.2"}, "10.0.0.1"},
		{"an empty for", lines{"for="}, "10.0.0.1"},
		{"an empty for in quotes", lines{`for=""`}, "10.0.0.1"},
		{"no name", lines{"198.51.100.1"}, "10.0.0.1"},
		{"no equals sign", lines{"for 198.51.100.1"}, "10.0.0.1"},
		{"two equals signs", lines{"for=198.51.100.1;host=a=b"}, "10.0.0.1"},
		{"an open quote", lines{`for="198.51.100.1`}, "10.0.0.1"},
		{"a quote at the end", lines{`for=198.51.100.1"`}, "10.0.0.1"},
		{"text after a quote", lines{`for="198.51.100.1"x`}, "10.0.0.1"},
		{"an escaped quote at the end", lines{`for="198.51.100.1\"`}, "10.0.0.1"},
		{"single quotes", lines{"for='198.51.100.1'"}, "10.0.0.1"},
		{"IPv6 without brackets is taken", lines{`for="2001:db8::1"`}, "2001:db8::1"},
		{"a long list", lines{strings.Repeat(`for="`, 3000) + ", for=198.51.100.1"}, "198.51.100.1"},
		{"many backslashes", lines{`for="` + strings.Repeat(`\`, 15_000) + `"`}, "10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clientOf(t, trusted, proxy, nil, c.list); got != c.want {
				t.Errorf("%q: got %s, want %s", c.list, got, c.want)
			}
		})
	}
}

// TestBothFields: a proxy may pass on the field that it does not write. So the two have to
// agree.
func TestBothFields(t *testing.T) {
	for _, c := range []struct {
		name         string
		forwardedFor lines
		forwarded    lines
		want         string
	}{
		{"they agree", lines{"198.51.100.1"}, lines{"for=198.51.100.1"}, "198.51.100.1"},
		{"they agree but for the port", lines{"192.0.2.66, 198.51.100.1:80"}, lines{`for="198.51.100.1:81"`}, "198.51.100.1"},
		{"the client wrote X-Forwarded-For", lines{"192.0.2.66"}, lines{"for=198.51.100.1"}, "10.0.0.1"},
		{"the client wrote Forwarded", lines{"198.51.100.1"}, lines{"for=192.0.2.66"}, "10.0.0.1"},
		{"one is malformed", lines{"198.51.100.1"}, lines{"nonsense"}, "10.0.0.1"},
		{"one is empty", lines{""}, lines{"for=198.51.100.1"}, "10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clientOf(t, trusted, proxy, c.forwardedFor, c.forwarded); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzForwardedFor: whatever a client writes, a client that a proxy appends to
// X-Forwarded-For is found.
func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "192.0.2.66", `"`, `"\`, "[::1]:80, 10.0.0.2", "unknown,", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, claimed string) {
		wantAppended(t, claimed, "X-Forwarded-For", "198.51.100.1", "2001:db8::1", "198.51.100.1:4711, 10.0.0.2")
	})
}

// FuzzForwarded: whatever a client writes, a client that a proxy appends to Forwarded is
// found.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"", "for=192.0.2.66", `for="`, `for="\`, `host=",`, "for=_x;;by=a, ", `for="[::1]:80", for=10.0.0.2`, "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, claimed string) {
		wantAppended(t, claimed, "Forwarded", "for=198.51.100.1", `proto=https;for="[2001:db8::1]:4711"`, `for=198.51.100.1;host="a\"b,c", for="[fd00::1]"`)
	})
}

// wantAppended checks that the client is found that each appended text names, behind what a
// client claimed in the field. What it claimed alone is a valid address.
func wantAppended(t *testing.T, claimed, field string, appended ...string) {
	t.Helper()
	client := func(header http.Header) netip.Addr {
		return trusted.client(&http.Request{RemoteAddr: proxy, Header: header})
	}
	for _, own := range appended {
		want := client(http.Header{field: {own}})
		if !want.IsValid() || trusted.trust(want) {
			t.Fatalf("%s: %q names %v", field, own, want)
		}
		for _, header := range []http.Header{{field: {claimed + ", " + own}}, {field: {claimed, own}}} {
			if got := client(header); got != want {
				t.Errorf("%q: got %v, want %v", header, got, want)
			}
		}
	}
	if got := client(http.Header{field: {claimed}}); !got.IsValid() || got.Zone() != "" || got.Is4In6() || got.IsUnspecified() {
		t.Errorf("%q: got %v", claimed, got)
	}
}
