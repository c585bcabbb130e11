package cluster

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/dinomo-kv/dinomo/messages"
)

// Network is the address plan of a cluster on one machine: 256 addresses, each node one of its own, since every node
// has the same ports.
//
//	.1 management  .2 DPM  .3 M-node  .4-.19 routing nodes  .20-.99 benchmark nodes
//	.100-.199 KNs  .230-.239 further M-nodes  .240-.254 prompts, runners and other tools
type Network struct{ base netip.Addr }

// DefaultNetwork is where a local cluster is unless somebody says otherwise.
const DefaultNetwork = "127.0.10.0/24"

// Defaults are the addresses that a tool at ip needs for a cluster on the network, by configuration key: for conf.Sources.
func (n Network) Defaults(ip string) map[string]string {
	return map[string]string{
		"user.ip": ip, "user.routing": n.Route(0), "user.monitoring": n.Monitor(0), "trigger.benchmark": n.Bench(0),
		"trigger.management": n.Manage(), "ib_config.storage_node_ips": n.DPM(),
	}
}

// Room for nodes of a kind in a Network.
const (
	MaxRoutes   = 16
	MaxBenches  = 80
	MaxKNs      = 100
	MaxMonitors = 11
	MaxTools    = 15
)

// ParseNetwork reads "127.0.10.0/24", or any address in it.
func ParseNetwork(s string) (Network, error) {
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() && p.Bits() == 24 {
		return networkOf(p.Addr()), nil
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is4() {
		return Network{}, fmt.Errorf("network %q: want 256 IPv4 addresses such as 127.0.10.0/24", s)
	}
	return networkOf(ip), nil
}

func networkOf(ip netip.Addr) Network {
	b := ip.As4()
	b[3] = 0
	return Network{netip.AddrFrom4(b)}
}

// String returns the network as ParseNetwork reads it.
func (n Network) String() string { return n.base.String() + "/24" }

func (n Network) at(host int) string {
	b := n.base.As4()
	b[3] = byte(host)
	return netip.AddrFrom4(b).String()
}

// Manage is the management node's address.
func (n Network) Manage() string { return n.at(1) }

// DPM is the pool's.
func (n Network) DPM() string { return n.at(2) }

// Monitor is an M-node's, 0 to MaxMonitors-1.
func (n Network) Monitor(i int) string {
	if i == 0 {
		return n.at(3)
	}
	return n.at(229 + i)
}

// Route is a routing node's, 0 to MaxRoutes-1.
func (n Network) Route(i int) string { return n.at(4 + i) }

// Bench is a benchmark node's, 0 to MaxBenches-1.
func (n Network) Bench(i int) string { return n.at(20 + i) }

// KN is a KN's, 0 to MaxKNs-1.
func (n Network) KN(i int) string { return n.at(100 + i) }

// Tool is a tool's, 0 to MaxTools-1.
func (n Network) Tool(i int) string { return n.at(240 + i) }

// BenchIndex is the inverse of Bench; -1 when the address is not a benchmark node's.
func (n Network) BenchIndex(ip string) int {
	return slices.Index(several(n.Bench, MaxBenches), ip)
}

// Addresses lists what a management node may give to nodes of each kind.
func (n Network) Addresses() map[messages.NodeKind][]string {
	return map[messages.NodeKind][]string{
		messages.KindMemory: several(n.KN, MaxKNs), messages.KindRouting: several(n.Route, MaxRoutes),
		messages.KindBenchmark: several(n.Bench, MaxBenches),
	}
}

// several returns the first count addresses of a kind.
func several(of func(int) string, count int) []string {
	ips := make([]string, count)
	for i := range ips {
		ips[i] = of(i)
	}
	return ips
}
