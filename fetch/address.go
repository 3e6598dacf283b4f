package fetch

import (
	"fmt"
	"net/netip"
)

// An AddressError says that a host has an address that is not public.
type AddressError struct {
	Host string     // of the URL
	Addr netip.Addr // for the log: it may tell about networks behind this machine
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("fetch: %s has the address %v, which is not public", e.Host, e.Addr)
}

// globalUnicast holds all public IPv6 addresses (RFC 4291, section 2.4), and some others.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// nat64 holds the addresses by which networks without IPv4 reach IPv4 hosts (RFC 6052). The
// IPv4 address is in the last four bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// special are addresses that do not belong to one host on the internet: IANA's registries of
// special-purpose addresses, and what clouds use for themselves.
var special = prefixes(
	"0.0.0.0/8",        // this network, and unspecified
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // shared by customers of a provider; Alibaba's metadata
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's platform
	"169.254.0.0/16",   // link local; metadata of most clouds
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments; Oracle's metadata
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, and broadcast

	"2001::/23",     // protocol assignments; Teredo, which has an IPv4 address inside
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4, which has an IPv4 address inside
	"3fff::/20",     // documentation
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

// isPublic reports whether an address may belong to a host on the internet. Addresses of
// private networks, of this machine and of the cloud that it runs in are not public, however
// they are written.
func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
