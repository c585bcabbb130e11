package ibverbs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNoDevice: no RDMA card, or none that the options ask for.
var ErrNoDevice = errors.New("no usable RDMA device")

// port is one port of a card.
type port struct {
	device   string
	number   int
	active   bool
	ethernet bool // RoCE: peers are found by GID; else InfiniBand: by LID, too
	lid      uint16
	mtu      int // ibv_mtu, an exponent
	reads    int // outstanding READs and atomics that the card answers
	gids     []gid
}

// gid is one address of a port's table.
type gid struct {
	index int
	raw   [16]byte
	v2    bool // RoCE v2, the kind that is routed as UDP
}

func (g gid) address() netip.Addr { return netip.AddrFrom16(g.raw).Unmap() }

// a path is a port, and the address that packets from and to it carry.
type path struct {
	port
	gidIndex int // -1: none, InfiniBand within a subnet
	gid      [16]byte
}

// mtuBytes is what a packet carries.
func (p *port) mtuBytes() int { return 128 << p.mtu }

// String returns the port as error messages and the probe show it.
func (p *port) String() string {
	state, link := "down", "InfiniBand"
	if p.active {
		state = "active"
	}
	if p.ethernet {
		link = "RoCE"
	}
	return fmt.Sprintf("%s port %d (%s, %s, MTU %d, %s)", p.device, p.number, state, link, p.mtuBytes(), p.addresses())
}

// addresses lists what the port answers to.
func (p *port) addresses() string {
	var all []string
	for _, g := range p.gids {
		if !p.ethernet || g.v2 {
			all = append(all, fmt.Sprintf("GID %d %s", g.index, g.address()))
		}
	}
	if len(all) == 0 {
		return "no address"
	}
	return strings.Join(all, ", ")
}

// has reports whether a port answers to an IP address.
func (p *port) has(address netip.Addr) bool {
	for _, g := range p.gids {
		if g.v2 && g.address() == address.Unmap() {
			return true
		}
	}
	return false
}

// path chooses among a port's addresses: the one that the options name; else near; else, with RoCE, which goes nowhere without, the
// first IPv4 address, or IPv6 address beyond the link, of the second version.
func (p *port) path(o Options, near netip.Addr) (path, error) {
	rank := func(g gid) int { // the greatest counts, 0 is no candidate
		switch {
		case o.GID != 0:
			return btoi(g.index == o.GID-1)
		case !g.v2 || !p.ethernet || g.address().IsLinkLocalUnicast():
			return 0
		case g.address() == near.Unmap():
			return 3
		case g.address().Is4():
			return 2
		}
		return 1
	}
	best := path{port: *p, gidIndex: -1}
	for found, i := 0, 0; i < len(p.gids); i++ {
		if r := rank(p.gids[i]); r > found {
			found, best.gidIndex, best.gid = r, p.gids[i].index, p.gids[i].raw
		}
	}
	switch {
	case best.gidIndex >= 0:
		return best, nil
	case o.GID != 0:
		return path{}, fmt.Errorf("has no GID with index %d", o.GID-1)
	case p.ethernet:
		return path{}, errors.New("has no RoCE v2 address: give its network interface an IP")
	}
	return best, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// choose returns the port that the options ask for, and of several that would do the one that has the address near: packets
// then leave by the network that near is in. Without such a one it is the first. ports are in the order of preference.
func choose(ports []port, o Options, near netip.Addr) (path, error) {
	var best path
	var reasons []string
	for i := range ports {
		p := &ports[i]
		why := p.unfit(o)
		if why == nil {
			var candidate path
			if candidate, why = p.path(o, near); why == nil && (best.device == "" || p.has(near) && !best.has(near)) {
				best = candidate
			}
		}
		if why != nil {
			reasons = append(reasons, fmt.Sprintf("%s %v", p, why))
		}
	}
	switch {
	case best.device != "":
		return best, nil
	case len(ports) == 0:
		return path{}, fmt.Errorf("%w: this machine has none (is the driver loaded? for a card made of software: rdma link add rxe0 type rxe netdev eth0)", ErrNoDevice)
	}
	return path{}, fmt.Errorf("%w that is %s: %s", ErrNoDevice, o.wanted(), strings.Join(reasons, "; "))
}

// unfit says why the options rule a port out.
func (p *port) unfit(o Options) error {
	switch {
	case o.Device != "" && o.Device != p.device:
		return errors.New("is another device")
	case o.Port != 0 && o.Port != p.number:
		return errors.New("is another port")
	case !p.active:
		return errors.New("is down: bring its network interface or link up")
	case p.reads < 1:
		return errors.New("answers no READs and atomics")
	}
	return nil
}

// allows says whether the card that rdma_cm found behind an IP address is one that the options name.
func (o *Options) allows(address netip.Addr, device string, port int) error {
	if o.Device != "" && o.Device != device || o.Port != 0 && o.Port != port {
		return fmt.Errorf("%w: the way to or from %s is through %s port %d, and not %s: rdma_cm goes by the IP, so use an IP of the port that is wanted, or name no device and port",
			ErrNoDevice, address.Unmap(), device, port, o.wanted())
	}
	return nil
}

// wanted says which card the options want.
func (o *Options) wanted() string {
	var text []string
	if o.Device != "" {
		text = append(text, "device "+o.Device)
	}
	if o.Port != 0 {
		text = append(text, fmt.Sprintf("port %d", o.Port))
	}
	if o.GID != 0 {
		text = append(text, fmt.Sprintf("GID index %d", o.GID-1))
	}
	if len(text) == 0 {
		return "up and has an address"
	}
	return strings.Join(text, ", ")
}
