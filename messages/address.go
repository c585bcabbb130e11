package messages

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxAddressBytes bounds the text of an address: "tcp://[", an IPv6 address, "]:65535".
const MaxAddressBytes = len("tcp://[]:65535") + 39

// ErrInvalidAddress means that a text is no address of this system; ParseAddress and ParseIP wrap it.
var ErrInvalidAddress = errors.New("invalid address")

const scheme = "tcp://"

// Address is where a socket listens. It is comparable, so it can key a map, and every address has one spelling.
// The zero Address is not valid.
type Address struct {
	IP   netip.Addr
	Port uint16
}

// ParseAddress reads "tcp://<ip>:<port>". It is strict, because peers choose these texts and we connect to them: the
// IP is numeric (a name would make a stranger's request wait for a resolver) and stands for one host, an IPv6 one is
// in brackets, the port is decimal from 1 to 65535, and nothing may surround them.
func ParseAddress(s string) (Address, error) {
	if len(s) > MaxAddressBytes {
		return Address{}, fmt.Errorf("%w: %d bytes long; want tcp://<ip>:<port>", ErrInvalidAddress, len(s))
	}
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return Address{}, fmt.Errorf("%w %q: want tcp://<ip>:<port>", ErrInvalidAddress, s)
	}
	colon := strings.LastIndexByte(rest, ':')
	if colon < 0 {
		return Address{}, fmt.Errorf("%w %q: no port; want tcp://<ip>:<port>", ErrInvalidAddress, s)
	}
	host, port := rest[:colon], rest[colon+1:]
	bracketed := len(host) >= 2 && host[0] == '[' && host[len(host)-1] == ']'
	if bracketed {
		host = host[1 : len(host)-1]
	}
	ip, err := ParseIP(host)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	if ip.Is6() != bracketed {
		return Address{}, fmt.Errorf("%w %q: brackets go around an IPv6 address and only there", ErrInvalidAddress, s)
	}
	n, err := parseDecimal(port, 65535)
	if err != nil || n == 0 {
		return Address{}, fmt.Errorf("%w %q: port %q; want a decimal from 1 to 65535", ErrInvalidAddress, s, port)
	}
	return Address{IP: ip, Port: uint16(n)}, nil
}

// String returns "tcp://<ip>:<port>"; ParseAddress reads it back.
func (a Address) String() string {
	b := make([]byte, 0, len("tcp://255.255.255.255:65535"))
	return string(a.Append(b))
}

// Append appends what String returns.
func (a Address) Append(dst []byte) []byte {
	dst = append(dst, scheme...)
	return netip.AddrPortFrom(a.IP, a.Port).AppendTo(dst)
}

// HostPort returns "<ip>:<port>" as Go's net package wants it.
func (a Address) HostPort() string { return netip.AddrPortFrom(a.IP, a.Port).String() }

// IsValid says whether a could have come from ParseAddress.
func (a Address) IsValid() bool { return a.Port != 0 && checkIP(a.IP) == "" }

// ParseIP reads the numeric address of one host: no name, no wildcard, no multicast group, no zone, and no IPv4 address
// in IPv6 dress.
func ParseIP(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: IP %q; want a numeric address such as 127.0.0.1", ErrInvalidAddress, clip(s))
	}
	if why := checkIP(ip); why != "" {
		return netip.Addr{}, fmt.Errorf("%w: IP %q: %s", ErrInvalidAddress, s, why)
	}
	return ip, nil
}

// checkIP returns what makes ip no single host's address, or nothing.
func checkIP(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return "missing"
	case ip.IsUnspecified():
		return "a wildcard; want the address of one host"
	case ip.IsMulticast():
		return "a multicast group; want the address of one host"
	case ip.Zone() != "":
		return "zones are not supported"
	case ip.Is4In6():
		return "write it as an IPv4 address"
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address; want the address of one host"
	}
	return ""
}

// parseDecimal reads an unsigned decimal in its one shortest spelling, no larger than most.
func parseDecimal(s string, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || s[0] == '+' || (s[0] == '0' && len(s) > 1) {
		return 0, fmt.Errorf("number %q: want an unsigned decimal", clip(s))
	}
	if n > most {
		return 0, fmt.Errorf("number %d: at most %d", n, most)
	}
	return n, nil
}

// clip shortens hostile text for an error message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
