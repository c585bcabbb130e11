package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/clustertest"
)

// deadline is how long a test waits for something that must come.
const deadline = 60 * time.Second

func TestMain(m *testing.M) { clustertest.Main(m) }

// up starts a cluster and closes it with the test.
func up(t *testing.T, topology cluster.Topology, set ...string) *cluster.Cluster {
	t.Helper()
	directory := t.TempDir()
	topology.Network = clustertest.Network(t)
	topology.Set = append([]string{
		"dinomo.data-dir=" + directory, "capacities.storage-cap=256MiB", "kvs_config.log-block-size=1MiB", "dinomo.limits.value=64KiB",
		"capacities.memory-cap=8MiB", "threads.memory=2", "threads.benchmark=2",
	}, set...)
	c, err := cluster.Up(t.Context(), cluster.UpOptions{Topology: topology, Binary: clustertest.Program(t), ReadyTimeout: deadline, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			showLogs(t, directory)
		}
	})
	return c
}

// showLogs prints the ends of a cluster's logs.
func showLogs(t *testing.T, directory string) {
	paths, _ := filepath.Glob(filepath.Join(directory, "logs", "*.log"))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if len(text) > 3000 {
			text = text[len(text)-3000:]
		}
		t.Logf("--- %s\n%s", filepath.Base(path), text)
	}
}

// newClient returns a client of a cluster.
func newClient(t *testing.T, c *cluster.Cluster) *client.Client {
	t.Helper()
	o, err := cluster.ClientOptions(&c.Conf().Config, cluster.Env{})
	if err != nil {
		t.Fatal(err)
	}
	o.IP, o.AnyPort, o.AttemptTimeout = c.Topology().Network.Tool(2), true, 300*time.Millisecond
	cl, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

// within bounds one step of a test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not happen", what)
		}
	}
}

// processesOf lists the processes that have a text in their environment or command line.
func processesOf(t *testing.T, text string) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") != "" || e.Name() == fmt.Sprint(os.Getpid()) {
			continue
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, _ := os.ReadFile(filepath.Join("/proc", e.Name(), file)) // it may be over by now
			if strings.Contains(string(b), text) {
				found = append(found, e.Name()+": "+strings.ReplaceAll(string(b[:min(len(b), 120)]), "\x00", " "))
				break
			}
		}
	}
	return found
}

// listeners lists what still accepts connections at a network's main ports.
func listeners(n cluster.Network) []string {
	var found []string
	for ip, ports := range map[string][]int{
		n.Manage(): {8100, 8101, 8900}, n.DPM(): {9100, 9200}, n.Monitor(0): {7400, 8800}, n.Route(0): {7000, 8200, 8700},
		n.KN(0): {6400, 8600}, n.KN(1): {6400, 8600}, n.Bench(0): {8000, 9000},
	} {
		for _, port := range ports {
			address := net.JoinHostPort(ip, strconv.Itoa(port))
			if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
				c.Close()
				found = append(found, address)
			}
		}
	}
	return found
}
