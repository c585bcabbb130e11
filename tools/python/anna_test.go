package python

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
)

// annaCase is a cluster for the peers of tests/anna, and which of their tests it gets.
type annaCase struct {
	name    string
	network string
	set     []string // configuration
	env     []string // the peers' view of it
	tests   []string // for unittest
}

const annaRoutes, annaRouteThreads, annaKNs = 2, 4, 2

// TestAnnasPeers runs peers that do what Anna's clients, monitor, nodes, caches and scripts do, over libzmq and Google's protobuf,
// against clusters of processes: the anna port plan as it comes, and the dinomo plan with LWW values ordered by timestamp.
func TestAnnasPeers(t *testing.T) {
	needPython(t)
	binary := filepath.Join(t.TempDir(), "dinomo")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/dinomo-kv/dinomo/tools/dinomo").CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	third := 100 + os.Getpid()%100 // keeps test binaries apart that run at the same time
	for _, c := range []annaCase{
		{"anna", fmt.Sprintf("127.%d.201.0/24", third), []string{"dinomo.ports=anna"}, []string{"DINOMO_PORTS=anna"}, []string{"discover", "-v", "-s", "tests/anna", "-t", "."}},
		{"dinomo", fmt.Sprintf("127.%d.202.0/24", third), []string{"dinomo.lww=timestamp"}, []string{"DINOMO_PORTS=dinomo", "DINOMO_LWW=timestamp"},
			[]string{"-v", "tests.anna.test_clients.CppClientTest", "tests.anna.test_differences", "tests.anna.test_gossip", "tests.anna.test_metadata", "tests.anna.test_churn", "tests.test_cluster"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "anna" {
				t.Skip("in short mode the anna plan alone")
			}
			c.run(t, binary)
		})
	}
}

func (c *annaCase) run(t *testing.T, binary string) {
	network, err := cluster.ParseNetwork(c.network)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	topology := cluster.Topology{Network: network, KNs: annaKNs, Routes: annaRoutes, Benches: 1}
	topology.Set = append([]string{
		"dinomo.data-dir=" + directory, "capacities.storage-cap=512MiB", "capacities.memory-cap=32MiB", fmt.Sprintf("threads.routing=%d", annaRouteThreads),
		"dinomo.lease.length=10s", // a peer that never asks twice must not meet a KN that a busy machine has stopped
		"policy.server-report-period=300ms", "policy.server-key-monitor-period=1s",
	}, c.set...)
	running, err := cluster.Up(t.Context(), cluster.UpOptions{Topology: topology, Binary: binary, ReadyTimeout: time.Minute, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := running.Close(); err != nil {
			t.Error(err)
		}
	}()
	c.commandLines(t, binary, network, directory)
	unittest(t, append([]string{"DINOMO_CLUSTER=" + c.network, fmt.Sprintf("DINOMO_KNS=%d", annaKNs), "DINOMO_KN_THREADS=2",
		fmt.Sprintf("DINOMO_ROUTES=%d", annaRoutes), fmt.Sprintf("DINOMO_ROUTE_THREADS=%d", annaRouteThreads),
		"DINOMO_ROUTING=" + network.Route(0)}, c.env...), c.tests...)
}

// acceptance is a session of Anna's command line and what it prints.
var acceptance = []struct{ line, want string }{
	{"PUT a 1", "Success!"}, {"GET a", "1"}, {"PUT b 2", "Success!"}, {"GET b", "2"}, {"PUT a 10", "Success!"}, {"GET a", "10"},
	{"PUT_SET set 1 2 3", "Success!"}, {"GET_SET set", "{ 1 2 3 }"}, {"PUT_SET set 1 2 4", "Success!"}, {"GET_SET set", "{ 1 2 3 4 }"},
	{"PUT_CAUSAL c hello", "Success!"}, {"GET_CAUSAL c", "{test : 1}\ndep1 : {test1 : 1}\nhello"},
}

// annaLoad are Anna's benchmark commands, short.
const annaLoad = "WARM:200:100:2\nCACHE:200\nLOAD:G:200:100:1:0.2:0.99\nLOAD:P:200:100:1:0.2:0\nLOAD:M:200:100:1:0.2:0.99\n"

// commandLines runs what a person would: the prompt, the trigger, its Python twin, YCSB and a replay that is compared.
func (c *annaCase) commandLines(t *testing.T, binary string, network cluster.Network, directory string) {
	run := func(stdin, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	dinomo := func(stdin string, args ...string) string {
		t.Helper()
		args = append(args, "--network", network.String())
		for _, set := range c.set {
			args = append(args, "--set", set)
		}
		return run(stdin, binary, args...)
	}
	var script, want strings.Builder
	for _, step := range acceptance {
		fmt.Fprintln(&script, step.line)
		fmt.Fprintln(&want, step.want)
	}
	if got := dinomo(script.String(), "cli"); got != want.String() {
		t.Errorf("the session of Anna's command line gives\n%s", got)
	}
	contains := func(what, out string, wanted ...string) {
		t.Helper()
		for _, text := range wanted {
			if !strings.Contains(out, text) {
				t.Errorf("%s: no %q in\n%s", what, text, out)
			}
		}
		if strings.Contains(out, "errors") {
			t.Errorf("%s:\n%s", what, out)
		}
	}
	contains("trigger", dinomo(annaLoad, "trigger"), "WARM:200:100:2\n  200 operations", "CACHE:200\n  400 operations", "LOAD:G:", "LOAD:P:", "LOAD:M:")
	contains("trigger.py", run(annaLoad, python, "../trigger.py", "--plan", c.name, "--bench", network.Bench(0), "--threads", "2"), "CACHE:200 sent", "LOAD:M:200:100:1:0.2:0.99 sent")
	dinomo("", "bench", "ycsb", "a", "--load", "--keys", "500", "--duration", "100ms")
	for _, workload := range []string{"a", "b", "c", "d", "e", "f"} {
		out := dinomo("", "bench", "ycsb", "--workload", workload, "--keys", "500", "--duration", "200ms")
		contains("ycsb", out, "YCSB:"+strings.ToUpper(workload)+":500:", "reads")
	}
	file, first, second := filepath.Join(directory, "commands"), filepath.Join(directory, "1.json"), filepath.Join(directory, "2.json")
	if err := os.WriteFile(file, []byte("# Anna's\n"+annaLoad), 0o600); err != nil {
		t.Fatal(err)
	}
	dinomo("", "bench", "replay", file, "--label", "before", "--save", first)
	contains("replay", dinomo("", "bench", "replay", file, "--label", "after", "--save", second, "--against", first), "first: before\nsecond: after\n", "CACHE:200 ")
	contains("compare", run("", binary, "bench", "compare", first, second), "first: before\nsecond: after\n", "LOAD:M:200:100:1:0.2:0.99 ")
}
