package sender

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Proxies are the address ranges of trusted proxies.
type Proxies []netip.Prefix

// client returns the address of the client that sent r. A peer that is no trusted proxy is
// the client itself. A trusted proxy names its client at the end of X-Forwarded-For or
// Forwarded. If that is a trusted proxy as well, the element before it names the client of
// that one, and so on. An element without a valid address ends the walk at the proxy that
// wrote it.
//
// A proxy appends to one of these fields. It may pass the other one on as the client sent
// it. So if a request has both and they lead to different addresses, neither counts.
func (p Proxies) client(r *http.Request) netip.Addr {
	peer := peer(r)
	if !p.trust(peer) {
		return peer
	}
	addresses, elements := r.Header.Values("X-Forwarded-For"), r.Header.Values("Forwarded")
	client, other := p.walk(peer, addresses, node), p.walk(peer, elements, forwardedFor)
	switch {
	case len(elements) == 0 || client == other:
		return client
	case len(addresses) == 0:
		return other
	}
	return peer
}

// walk returns the first address of a list, from its end, that is no trusted proxy's. If
// there is none, it returns the last one that it has read; if it has read none, peer. lines
// are the header fields that make up the list.
func (p Proxies) walk(peer netip.Addr, lines []string, parse func(element string) (netip.Addr, bool)) netip.Addr {
	last := peer
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			var element string
			line, element, more = cutLast(line)
			a, ok := parse(strings.Trim(element, " \t"))
			if !ok {
				return last
			}
			if last = a; !p.trust(a) {
				return a
			}
		}
	}
	return last
}

// trust reports whether a is the address of a trusted proxy.
func (p Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(in netip.Prefix) bool { return in.Contains(a) })
}

// cutLast cuts the last element off a list (RFC 9110, section 5.6.1). more reports whether
// there are others before it. It reads backwards, so that a quote in front of what a proxy
// has appended changes nothing.
func cutLast(list string) (before, element string, more bool) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch c := list[i]; {
		case c == ',' && !quoted:
			return list[:i], list[i+1:], true
		case c == '"' && !escaped(list[:i]):
			quoted = !quoted
		}
	}
	return "", list, false
}

// escaped reports whether a backslash at the end of before escapes what follows.
func escaped(before string) bool {
	backslashes := len(before) - len(strings.TrimRight(before, `\`))
	return backslashes%2 == 1
}

// forwardedFor returns the address of the parameter "for" in an element of Forwarded (RFC
// 7239, section 4).
func forwardedFor(element string) (a netip.Addr, ok bool) {
	const space = " \t"
	for {
		element = strings.TrimLeft(element, ";"+space)
		if element == "" {
			return a, ok
		}
		name, rest, _ := strings.Cut(element, "=")
		value, rest, valid := parameterValue(rest)
		if !valid {
			return netip.Addr{}, false
		}
		if strings.EqualFold(strings.Trim(name, space), "for") {
			if ok {
				return netip.Addr{}, false // two clients
			}
			if a, ok = node(value); !ok {
				return netip.Addr{}, false
			}
		}
		element = rest
	}
}

// parameterValue cuts the value of a parameter, which may be quoted, off a list of them.
func parameterValue(text string) (value, rest string, ok bool) {
	quoted, isQuoted := strings.CutPrefix(strings.TrimLeft(text, " \t"), `"`)
	if !isQuoted {
		value, rest, _ = strings.Cut(text, ";")
		value = strings.Trim(value, " \t")
		return value, rest, value != "" && !strings.ContainsAny(value, `"=`)
	}
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		switch c := quoted[i]; {
		case c == '"':
			rest = strings.TrimLeft(quoted[i+1:], " \t")
			return b.String(), rest, rest == "" || rest[0] == ';'
		case c == '\\' && i+1 < len(quoted):
			i++
		}
		b.WriteByte(quoted[i])
	}
	return "", "", false
}

// node returns the address of a node (RFC 7239, section 6): an IPv4 or IPv6 address. A port
// may follow the former, and the latter if it is in brackets. A node may also be unknown or
// have a made-up name. Neither is an address.
func node(text string) (netip.Addr, bool) {
	host, port, brackets := text, "", strings.HasPrefix(text, "[")
	if brackets {
		host, port, brackets = strings.Cut(text[1:], "]")
		if !brackets {
			return netip.Addr{}, false
		}
	} else if i := strings.IndexByte(text, ':'); i >= 0 && i == strings.LastIndexByte(text, ':') {
		host, port = text[:i], text[i:]
	}
	a, err := netip.ParseAddr(host)
	if err != nil || brackets && !a.Is6() || port != "" && !validPort(port) {
		return netip.Addr{}, false
	}
	a = plain(a)
	return a, !a.IsUnspecified()
}

// validPort reports whether text is a colon and a port: a number, or a made-up name that
// begins with an underscore.
func validPort(text string) bool {
	port, ok := strings.CutPrefix(text, ":")
	if !ok || strings.HasPrefix(port, "_") {
		return ok
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}
