package runtime

import (
	"fmt"
	"net/netip"
	"strings"
)

// addressScheme starts every address; ipc and inproc endpoints are not supported.
const addressScheme = "tcp://"

// maxAddressBytes is more than the longest IPv6 endpoint needs. Response addresses come from
// strangers and end up in log lines and map keys.
const maxAddressBytes = 80

// ParseAddress checks an address to connect to: "tcp://<numeric IP>:<port>", a unicast IP and
// a port above 0. Anything else gives ErrBadAddress; host names do too, on purpose (see the
// package comment).
func ParseAddress(address string) (netip.AddrPort, error) {
	ap, err := parseEndpoint(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip := ap.Addr()
	switch {
	case ap.Port() == 0:
		return netip.AddrPort{}, badAddress(address, "port 0 cannot be connected to")
	case ip.IsUnspecified():
		return netip.AddrPort{}, badAddress(address, "a wildcard cannot be connected to; name the node's own IP")
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.AddrPort{}, badAddress(address, "not a unicast IP")
	}
	return ap, nil
}

// parseListenAddress checks an address to bind: as ParseAddress, but "*" and wildcards stand
// for every interface, and port 0 for any free port.
func parseListenAddress(address string) (netip.AddrPort, error) {
	if rest, ok := strings.CutPrefix(address, addressScheme+"*:"); ok {
		address = addressScheme + "0.0.0.0:" + rest
	}
	return parseEndpoint(address)
}

func parseEndpoint(address string) (netip.AddrPort, error) {
	if len(address) > maxAddressBytes {
		return netip.AddrPort{}, badAddress(address, "longer than any endpoint")
	}
	rest, ok := strings.CutPrefix(address, addressScheme)
	if !ok {
		return netip.AddrPort{}, badAddress(address, "want tcp://<numeric IP>:<port>")
	}
	ap, err := netip.ParseAddrPort(rest)
	if err != nil || ap.Addr().Zone() != "" {
		return netip.AddrPort{}, badAddress(address, "want tcp://<numeric IP>:<port>, for example tcp://127.0.0.1:6400; host names are not resolved")
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

func badAddress(address, want string) error {
	if len(address) > maxAddressBytes {
		address = address[:maxAddressBytes] + "..."
	}
	return fmt.Errorf("%w %q: %s", ErrBadAddress, address, want)
}

// FormatAddress is the inverse of ParseAddress.
func FormatAddress(ap netip.AddrPort) string { return addressScheme + ap.String() }
