package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/cluster/manager/local"
	"github.com/dinomo-kv/dinomo/messages"
)

func TestNetworkGivesEveryNodeItsOwnAddress(t *testing.T) {
	n, err := ParseNetwork("127.0.10.0/24")
	if err != nil {
		t.Fatal(err)
	}
	all := []string{n.Manage(), n.DPM()}
	all = append(all, several(n.Monitor, MaxMonitors)...)
	all = append(all, several(n.Route, MaxRoutes)...)
	all = append(all, several(n.Bench, MaxBenches)...)
	all = append(all, several(n.KN, MaxKNs)...)
	all = append(all, several(n.Tool, MaxTools)...)
	seen := map[string]bool{}
	for _, ip := range all {
		if seen[ip] || !strings.HasPrefix(ip, "127.0.10.") || strings.HasSuffix(ip, ".0") || strings.HasSuffix(ip, ".255") {
			t.Errorf("%s is given twice, or is outside", ip)
		}
		seen[ip] = true
		if _, err := messages.ParseIP(ip); err != nil {
			t.Error(err)
		}
	}
	if i := n.BenchIndex(n.Bench(7)); i != 7 || n.BenchIndex(n.KN(0)) != -1 {
		t.Errorf("benchmark node 7 has index %d", i)
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{"127.0.10.0/24": "127.0.10.0/24", "127.0.10.1": "127.0.10.0/24", "10.2.3.99": "10.2.3.0/24"} {
		if n, err := ParseNetwork(text); err != nil || n.String() != want {
			t.Errorf("%s: %v, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "127.0.0.0/16", "::1", "somewhere", "127.0.0.0/33"} {
		if n, err := ParseNetwork(text); err == nil {
			t.Errorf("%q is taken for %v", text, n)
		}
	}
}

func TestTopologyCalls(t *testing.T) {
	top := Topology{KNs: 3, Routes: 2, Monitors: 2, Benches: 2, Invocation: Invocation{Files: []string{"/etc/a.yml"}, Set: []string{"x.y=1"}}}
	top.EnsureDefaults()
	if err := top.Validate(); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, n := range top.Nodes() {
		kinds = append(kinds, string(n.Kind)+" "+n.IP)
	}
	want := []string{"dpm 127.0.10.2", "monitor 127.0.10.3", "monitor 127.0.10.230", "routing 127.0.10.4", "routing 127.0.10.5",
		"management 127.0.10.1", "benchmark 127.0.10.20", "benchmark 127.0.10.21"}
	if !slices.Equal(kinds, want) {
		t.Errorf("%q", kinds)
	}
	for _, c := range []struct {
		node manager.Node
		want string
	}{
		{manager.Node{Kind: local.KindManagement, IP: "127.0.10.1"}, "manage --config /etc/a.yml --set x.y=1 --kns 3"},
		{manager.Node{Kind: messages.KindBenchmark, IP: "127.0.10.21"}, "bench --config /etc/a.yml --set x.y=1 --index 1 --nodes 2"},
		{manager.Node{Kind: messages.KindBenchmark, IP: "127.0.10.25"}, "bench --config /etc/a.yml --set x.y=1 --index 5 --nodes 6"},
		{manager.Node{Kind: messages.KindMemory, IP: "127.0.10.100"}, "kn --config /etc/a.yml --set x.y=1"},
	} {
		args, env, err := top.Command(c.node)
		if err != nil || strings.Join(args, " ") != c.want {
			t.Errorf("%v: %q, %v", c.node, args, err)
		}
		for _, variable := range []string{"PRIVATE_IP=" + c.node.IP, "SEED_IP=127.0.10.4", "MON_IPS=127.0.10.3 127.0.10.230", "ROUTING_IPS=127.0.10.4 127.0.10.5",
			"MGMT_IP=127.0.10.1", "DPM_IPS=127.0.10.2", "BENCH_IPS=127.0.10.20 127.0.10.21"} {
			if !slices.Contains(env, variable) {
				t.Errorf("%v: no %s in %q", c.node, variable, env)
			}
		}
	}
	if _, _, err := top.Command(manager.Node{Kind: messages.KindStorage, IP: "127.0.10.9"}); err == nil {
		t.Error("a second pool can be started")
	}
	for _, bad := range []Topology{{KNs: MaxKNs + 1}, {Routes: MaxRoutes + 1}, {Monitors: MaxMonitors + 1}, {Benches: MaxBenches + 1}} {
		bad.EnsureDefaults()
		if bad.Validate() == nil {
			t.Errorf("%+v fits", bad)
		}
	}
}
