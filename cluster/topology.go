package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/cluster/manager/local"
	"github.com/dinomo-kv/dinomo/messages"
)

// Topology is which nodes a local cluster consists of, and how each is called.
type Topology struct {
	Network Network
	// How many of each there are at the start. Monitors, Routes and KNs are at least 1; Benches may be 0.
	KNs, Routes, Monitors, Benches int
	// Invocation is what every process gets.
	Invocation
}

// EnsureDefaults fills zero fields, except Benches.
func (t *Topology) EnsureDefaults() {
	if t.Network == (Network{}) {
		t.Network, _ = ParseNetwork(DefaultNetwork)
	}
	t.KNs, t.Routes, t.Monitors = max(t.KNs, 1), max(t.Routes, 1), max(t.Monitors, 1)
}

// Validate says what does not fit the network.
func (t *Topology) Validate() error {
	for _, n := range []struct {
		what        string
		count, most int
	}{{"KNs", t.KNs, MaxKNs}, {"routing nodes", t.Routes, MaxRoutes}, {"M-nodes", t.Monitors, MaxMonitors}, {"benchmark nodes", t.Benches, MaxBenches}} {
		if n.count < 0 || n.count > n.most {
			return fmt.Errorf("%d %s: a local cluster has room for %d", n.count, n.what, n.most)
		}
	}
	return nil
}

// MonitorIPs lists the M-nodes.
func (t *Topology) MonitorIPs() []string { return several(t.Network.Monitor, t.Monitors) }

// RouteIPs lists the routing nodes.
func (t *Topology) RouteIPs() []string { return several(t.Network.Route, t.Routes) }

// BenchIPs lists the benchmark nodes.
func (t *Topology) BenchIPs() []string { return several(t.Network.Bench, t.Benches) }

// passed are the variables of this process's environment that nodes get too: none configures Dinomo.
var passed = []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK", "GORACE", "GOCOVERDIR"}

// Invocation is how a process of this binary is called: what it passes on to those it starts.
type Invocation struct {
	// Files are paths of configuration files, Set holds section.key=value.
	Files, Set []string
}

// Arguments returns the flags that every node's subcommand gets.
func (v Invocation) Arguments() []string {
	var args []string
	for _, f := range v.Files {
		args = append(args, "--config", f)
	}
	for _, s := range v.Set {
		args = append(args, "--set", s)
	}
	return args
}

// absolute makes the paths absolute, as nodes may run elsewhere.
func (v Invocation) absolute() (Invocation, error) {
	out := Invocation{Set: v.Set}
	for _, f := range v.Files {
		a, err := filepath.Abs(f)
		if err != nil {
			return v, fmt.Errorf("configuration file %s: %w", f, err)
		}
		out.Files = append(out.Files, a)
	}
	return out, nil
}

// Addresses says where the nodes of a cluster are.
type Addresses struct {
	Seed, Manage, DPM         string
	Monitors, Routes, Benches []string
}

// Environment returns the environment of a node at ip: the original's variables, ours, and a few of this process's.
func (a Addresses) Environment(ip string) []string {
	env := []string{
		"PRIVATE_IP=" + ip, "PUBLIC_IP=" + ip, "SEED_IP=" + a.Seed, "MGMT_IP=" + a.Manage, "MGMT_IPS=" + a.Manage,
		"MON_IPS=" + strings.Join(a.Monitors, " "), "ROUTING_IPS=" + strings.Join(a.Routes, " "),
		"BENCH_IPS=" + strings.Join(a.Benches, " "), "DPM_IPS=" + a.DPM,
	}
	for _, name := range passed {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Addresses says where the topology's nodes are.
func (t *Topology) Addresses() Addresses {
	return Addresses{
		Seed: t.Network.Route(0), Manage: t.Network.Manage(), DPM: t.Network.DPM(),
		Monitors: t.MonitorIPs(), Routes: t.RouteIPs(), Benches: t.BenchIPs(),
	}
}

// Command returns how one of the topology's nodes is called: for a local.Provisioner.
func (t *Topology) Command(n manager.Node) (args, environment []string, err error) {
	if args, err = command(n, t.Invocation, t.Network, t.Benches); err != nil {
		return nil, nil, err
	}
	if n.Kind == local.KindManagement {
		args = append(args, "--kns", strconv.Itoa(t.KNs))
	}
	return args, t.Addresses().Environment(n.IP), nil
}

// command returns a node's arguments. benches is how many benchmark nodes there are at the start; one that is
// added later takes part with a number above.
func command(n manager.Node, v Invocation, network Network, benches int) ([]string, error) {
	sub, err := local.Subcommand(n.Kind)
	if err != nil {
		return nil, err
	}
	args := append([]string{sub}, v.Arguments()...)
	if n.Kind == messages.KindBenchmark {
		index := max(network.BenchIndex(n.IP), 0)
		args = append(args, "--index", strconv.Itoa(index), "--nodes", strconv.Itoa(max(benches, index+1)))
	}
	return args, nil
}

// Nodes lists what is started besides the KNs, which the management node starts, in the order of their start.
func (t *Topology) Nodes() []manager.Node {
	nodes := []manager.Node{{Kind: messages.KindDPM, IP: t.Network.DPM()}}
	for _, ip := range t.MonitorIPs() {
		nodes = append(nodes, manager.Node{Kind: messages.KindMonitor, IP: ip})
	}
	for _, ip := range t.RouteIPs() {
		nodes = append(nodes, manager.Node{Kind: messages.KindRouting, IP: ip})
	}
	nodes = append(nodes, manager.Node{Kind: local.KindManagement, IP: t.Network.Manage()})
	for _, ip := range t.BenchIPs() {
		nodes = append(nodes, manager.Node{Kind: messages.KindBenchmark, IP: ip})
	}
	return nodes
}

// Routing returns the routing threads that clients ask.
func (t *Topology) Routing(plan messages.Plan, threads int) ([]string, error) {
	return client.RoutingEndpoints(plan, t.RouteIPs(), threads)
}
