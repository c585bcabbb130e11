package runtime

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, good := range []string{"tcp://127.0.0.1:6400", "tcp://10.1.2.3:1", "tcp://[::1]:65535"} {
		ap, err := ParseAddress(good)
		if err != nil || FormatAddress(ap) != good {
			t.Errorf("ParseAddress(%q) = %v, %v", good, ap, err)
		}
	}
	for _, bad := range []string{
		"", "tcp://", "127.0.0.1:6400", "ipc:///tmp/x", "inproc://x", "udp://127.0.0.1:1",
		"tcp://localhost:6400", "tcp://example.com:80", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:0",
		"tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:64 00", "tcp://*:6400", "tcp://0.0.0.0:6400",
		"tcp://[::]:6400", "tcp://224.0.0.1:6400", "tcp://255.255.255.255:6400", "tcp://[fe80::1%eth0]:6400",
		"tcp://127.0.0.1:6400/../x", "tcp://1.2.3:5", "tcp://0x7f.0.0.1:80", "tcp://" + strings.Repeat("1", 10000), "tcp://127.0.0.1:6400\x00",
	} {
		if _, err := ParseAddress(bad); !errors.Is(err, ErrBadAddress) {
			t.Errorf("ParseAddress(%.40q) = %v, want ErrBadAddress", bad, err)
		} else if len(err.Error()) > 500 {
			t.Errorf("the error for %.20q is %d bytes long", bad, len(err.Error()))
		}
	}
}

func TestListenAddresses(t *testing.T) {
	for _, good := range []string{"tcp://*:6400", "tcp://0.0.0.0:0", "tcp://127.0.0.9:0", "tcp://[::]:1"} {
		if _, err := parseListenAddress(good); err != nil {
			t.Errorf("parseListenAddress(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"tcp://eth0:6400", "*:6400", "tcp://*", "tcp://*:x"} {
		if _, err := parseListenAddress(bad); !errors.Is(err, ErrBadAddress) {
			t.Errorf("parseListenAddress(%q) = %v, want ErrBadAddress", bad, err)
		}
	}
}

func TestOccupiedAddressSaysWhatToDo(t *testing.T) {
	first := newPull(t, PullOptions{})
	_, err := ListenPull(first.Address(), PullOptions{})
	if !errors.Is(err, ErrAddressInUse) {
		t.Fatalf("second bind: %v, want ErrAddressInUse", err)
	}
	text := err.Error()
	for _, part := range []string{first.Address(), "stop the process"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not mention %q", text, part)
		}
	}
	if strings.Contains(text, "\n") {
		t.Errorf("%q is more than a line", text)
	}
	if _, err := ListenPull("tcp://192.0.2.1:6400", PullOptions{}); !errors.Is(err, ErrBadAddress) {
		t.Errorf("an IP that is not ours: %v", err)
	}
	if _, err := ListenPull("tcp://nonsense", PullOptions{}); !errors.Is(err, ErrBadAddress) {
		t.Errorf("nonsense: %v", err)
	}
}
