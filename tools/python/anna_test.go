package python

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
			[]string{"-v", "tests.anna.test_clients.CppClientTest", "tests.anna.test_differences", "tests.anna.test_gossip", "tests.anna.test_metadata", "tests.anna.test_churn"}},
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
	cmd := exec.CommandContext(t.Context(), python, append([]string{"-m", "unittest"}, c.tests...)...)
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "DINOMO_CLUSTER="+c.network, fmt.Sprintf("DINOMO_KNS=%d", annaKNs), "DINOMO_KN_THREADS=2",
		fmt.Sprintf("DINOMO_ROUTES=%d", annaRoutes), fmt.Sprintf("DINOMO_ROUTE_THREADS=%d", annaRouteThreads),
		"DINOMO_ROUTING="+network.Route(0)), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
