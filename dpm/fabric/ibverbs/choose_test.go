package ibverbs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func gidOf(index int, address string, v2 bool) gid {
	return gid{index: index, raw: netip.MustParseAddr(address).As16(), v2: v2}
}

// twoCards is a machine with a RoCE card of two ports, each with addresses of both versions, and an InfiniBand card.
func twoCards() []port {
	return []port{
		{device: "ib0", number: 1, lid: 7, mtu: 5, reads: 16, gids: []gid{gidOf(0, "fe80::1", false)}},
		{device: "mlx5_0", number: 1, active: true, ethernet: true, mtu: 3, reads: 16, gids: []gid{
			gidOf(0, "fe80::2", false), gidOf(1, "fe80::2", true), gidOf(2, "10.0.1.1", false), gidOf(3, "10.0.1.1", true), gidOf(4, "10.0.9.1", true),
		}},
		{device: "mlx5_0", number: 2, active: true, ethernet: true, mtu: 5, reads: 16, gids: []gid{gidOf(0, "2001:db8::2", true), gidOf(1, "10.0.2.1", true)}},
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(ports []port)
		options Options
		near    string
		device  string
		port    int
		gid     int
		refused []string
	}{
		{name: "the first that is up, its first routable address", device: "mlx5_0", port: 1, gid: 3},
		{name: "the one with the address", near: "10.0.2.1", device: "mlx5_0", port: 2, gid: 1},
		{name: "that address, not another of the same port", near: "10.0.9.1", device: "mlx5_0", port: 1, gid: 4},
		{name: "an IPv6 address", near: "2001:db8::2", device: "mlx5_0", port: 2, gid: 0},
		{name: "an address that no card has", near: "192.0.2.1", device: "mlx5_0", port: 1, gid: 3},
		{name: "by port", options: Options{Port: 2}, device: "mlx5_0", port: 2, gid: 1},
		{name: "the port goes before the address", options: Options{Port: 2}, near: "10.0.1.1", device: "mlx5_0", port: 2, gid: 1},
		{name: "by GID", options: Options{Device: "mlx5_0", GID: 3}, device: "mlx5_0", port: 1, gid: 2},
		{name: "by device, InfiniBand", change: func(p []port) { p[0].active = true }, options: Options{Device: "ib0"}, device: "ib0", port: 1, gid: -1},
		{name: "InfiniBand with a GID, between subnets", change: func(p []port) { p[0].active = true }, options: Options{GID: 1}, device: "ib0", port: 1, gid: 0},
		{name: "a device that is not there", options: Options{Device: "mlx5_7"}, refused: []string{"device mlx5_7", "ib0 port 1", "mlx5_0 port 2 (active, RoCE, MTU 4096", "GID 1 10.0.2.1"}},
		{name: "a port that is not there", options: Options{Port: 3}, refused: []string{"port 3", "is another port"}},
		{name: "a GID that is not there", options: Options{GID: 8}, refused: []string{"GID index 7", "has no GID with index 7"}},
		{name: "a device that is down", options: Options{Device: "ib0"}, refused: []string{"is down: bring"}},
		{name: "a card without READs", change: func(p []port) { p[1].reads = 0 }, options: Options{Port: 1}, refused: []string{"answers no READs"}},
		{name: "no address", change: func(p []port) { p[1].gids, p[2].gids = p[1].gids[:2], nil }, refused: []string{"no RoCE v2 address: give its network interface an IP"}},
	} {
		ports := twoCards()
		if test.change != nil {
			test.change(ports)
		}
		var near netip.Addr
		if test.near != "" {
			near = netip.MustParseAddr(test.near)
		}
		got, err := choose(ports, test.options, near)
		if len(test.refused) > 0 {
			for _, word := range test.refused {
				if !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %v, want ErrNoDevice and %q", test.name, err, word)
				}
			}
			continue
		}
		if err != nil || got.device != test.device || got.number != test.port || got.gidIndex != test.gid {
			t.Errorf("%s: %s port %d GID %d, %v", test.name, got.device, got.number, got.gidIndex, err)
		}
		if got.gidIndex >= 0 && !strings.Contains(got.String(), netip.AddrFrom16(got.gid).Unmap().String()) {
			t.Errorf("%s: GID %v is not the port's", test.name, got.gid)
		}
	}
	if _, err := choose(nil, Options{}, netip.Addr{}); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "rdma link add") {
		t.Errorf("no card at all: %v", err)
	}
}

func TestAllows(t *testing.T) {
	at := netip.MustParseAddr("10.0.1.1")
	for _, o := range []Options{{}, {Device: "a"}, {Port: 1}, {Device: "a", Port: 1}} {
		if err := o.allows(at, "a", 1); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []Options{{Device: "b"}, {Port: 2}, {Device: "a", Port: 2}} {
		if err := o.allows(at, "a", 1); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "10.0.1.1") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
