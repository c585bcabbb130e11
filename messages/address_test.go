package messages

import (
	"errors"
	"strings"
	"testing"
)

func TestAddressRoundTrip(t *testing.T) {
	for _, s := range []string{"tcp://127.0.0.1:6200", "tcp://10.0.0.255:1", "tcp://[::1]:65535", "tcp://[fe80::1:2]:80"} {
		a, err := ParseAddress(s)
		if err != nil {
			t.Fatalf("ParseAddress(%q): %v", s, err)
		}
		if a.String() != s || !a.IsValid() {
			t.Errorf("ParseAddress(%q).String() = %q, valid %v", s, a, a.IsValid())
		}
		if want := strings.TrimPrefix(s, "tcp://"); a.HostPort() != want {
			t.Errorf("HostPort of %q = %q", s, a.HostPort())
		}
	}
}

func TestAddressRefusals(t *testing.T) {
	for _, s := range []string{
		"", "tcp://", "tcp://:", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://:6200", "127.0.0.1:6200", "TCP://127.0.0.1:6200",
		"ipc://127.0.0.1:6200", "tcp://localhost:6200", "tcp://*:6200", "tcp://0.0.0.0:6200", "tcp://[::]:6200", "tcp://224.0.0.1:6200",
		"tcp://255.255.255.255:6200", "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:+80", "tcp://127.0.0.1:-1",
		"tcp://127.0.0.1:080", "tcp://127.0.0.1:6200 ", " tcp://127.0.0.1:6200", "tcp://127.0.0.1:6200\x00", "tcp://127.0.0.01:6200",
		"tcp://127.0.0.1:62_0", "tcp://::1:6200", "tcp://[127.0.0.1]:6200", "tcp://[::1:6200", "tcp://[]:6200", "tcp://[fe80::1%eth0]:6200",
		"tcp://[::ffff:127.0.0.1]:6200", "tcp://127.0.0.1:6200/x", "tcp://127.0.0.1:99999999999999999999", "tcp://" + strings.Repeat("1", 100) + ":1",
	} {
		if a, err := ParseAddress(s); !errors.Is(err, ErrInvalidAddress) {
			t.Errorf("ParseAddress(%q) = %v, %v; want ErrInvalidAddress", s, a, err)
		}
	}
	if (Address{}).IsValid() {
		t.Error("the zero Address is valid")
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"tcp://127.0.0.1:6200", "tcp://[::1]:1", "tcp://[::1%a]:1", "tcp://1.2.3.4:", "tcp://[127.0.0.1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if !errors.Is(err, ErrInvalidAddress) {
				t.Fatalf("ParseAddress(%q): %v does not wrap ErrInvalidAddress", s, err)
			}
			return
		}
		b, err := ParseAddress(a.String())
		if err != nil || b != a || !a.IsValid() {
			t.Fatalf("%q parsed to %v, which parses to %v, %v", s, a, b, err)
		}
	})
}
