package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster/experiment"
)

// configured returns the line of --print-config that begins with a key.
func configured(t *testing.T, key string, args ...string) string {
	t.Helper()
	out, err := execute(append(args, "--print-config")...)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, key+" ") {
			return strings.Join(strings.Fields(line)[1:], " ")
		}
	}
	t.Fatalf("no %s in %s", key, out)
	return ""
}

// TestToolsFindTheLocalCluster: what nobody configured follows from --network, and what somebody did stands.
func TestToolsFindTheLocalCluster(t *testing.T) {
	for _, name := range []string{"PRIVATE_IP", "ROUTING_IPS", "MON_IPS", "BENCH_IPS", "MGMT_IPS", "DPM_IPS"} {
		t.Setenv(name, "")
	}
	file := filepath.Join(t.TempDir(), "cluster.yml")
	if err := os.WriteFile(file, []byte("user:\n  routing: [10.0.0.4]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, key, want string }{
		{"cli", "user.routing", "127.0.10.4 default, --network 127.0.10.0/24"},
		{"cli", "user.ip", "127.0.10.241 default, --network 127.0.10.0/24"},
		{"trigger --network 127.0.20.0/24", "trigger.benchmark", "127.0.20.20 default, --network 127.0.20.0/24"},
		{"trigger", "trigger.management", "127.0.10.1 default, --network 127.0.10.0/24"},
		{"inspect", "ib_config.storage_node_ips", "127.0.10.2 default, --network 127.0.10.0/24"},
		{"bench ycsb A", "user.monitoring", "127.0.10.3 default, --network 127.0.10.0/24"},
		{"bench --index 3", "user.ip", "127.0.10.23 default, --network 127.0.10.0/24"},
		{"cli --config " + file, "user.routing", "10.0.0.4 " + file + ":2"},
		{"cli --set user.ip=10.0.0.9", "user.ip", "10.0.0.9 --set"},
		{"kn", "user.routing", "127.0.0.1 default"}, // a role is where it is told to be
	} {
		if got := configured(t, c.key, strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.args, c.key, got, c.want)
		}
	}
	t.Setenv("PRIVATE_IP", "10.0.0.7")
	if got := configured(t, "user.ip", "cli"); got != "10.0.0.7 environment PRIVATE_IP" {
		t.Errorf("PRIVATE_IP does not go first: %q", got)
	}
	if _, err := execute("cli", "--network", "somewhere"); exitStatus(err) != 2 {
		t.Errorf("a network that is none: %v", err)
	}
}

// TestNodesAreAsManyAsConfigured: a flag goes first, then the file, then the default.
func TestNodesAreAsManyAsConfigured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.yml")
	if err := os.WriteFile(file, []byte("ib_config:\n  num_initial_memory_nodes: 4\nbench_config:\n  num-benchmark-nodes: 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args         string
		kns, benches int
	}{
		{"", 2, 1}, {"--config " + file, 4, 3}, {"--kns 7 --config " + file, 7, 3},
	} {
		command := &cobra.Command{}
		f := configFlags(command)
		topology, _ := topologyFlags(command)
		if err := command.ParseFlags(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		l, _, err := f.load(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if asConfigured(command, topology, l); topology.KNs != c.kns || topology.Benches != c.benches {
			t.Errorf("%q: %d KNs, %d benchmark nodes", c.args, topology.KNs, topology.Benches)
		}
	}
}

// noReport is an experiment's report with nothing in it.
type noReport struct{}

func (noReport) WriteText(io.Writer) error { return nil }
func (noReport) WriteJSON(string) error    { return nil }
func (noReport) Draw(string) error         { return nil }

// TestExperimentsTidyUp: what is interrupted, and what never began, leaves no files; what failed keeps its logs and says where.
func TestExperimentsTidyUp(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	running, interrupt := context.WithCancel(context.Background())
	conclude := func(ctx context.Context, r experimentReport) error {
		t.Helper()
		c := &cobra.Command{}
		c.SetContext(ctx)
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		var o experiment.Options
		f := addExperimentFlags(c, &o)
		tidy, err := f.fill(c, &o)
		if err != nil {
			t.Fatal(err)
		}
		return f.conclude(c, &o, r, errors.New("it failed"), tidy)
	}
	left := func() string {
		t.Helper()
		entries, err := os.ReadDir(temporary)
		if err != nil || len(entries) > 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		for _, e := range entries {
			return filepath.Join(temporary, e.Name())
		}
		return ""
	}
	if err := conclude(running, nil); err == nil || left() != "" {
		t.Errorf("never begun: %v, %q is left", err, left())
	}
	if err := conclude(running, noReport{}); left() == "" || !strings.Contains(err.Error(), left()) {
		t.Errorf("failed: %v, %q is left", err, left())
	}
	if err := os.RemoveAll(left()); err != nil {
		t.Fatal(err)
	}
	interrupt()
	if err := conclude(running, noReport{}); exitStatus(err) != interrupted || left() != "" {
		t.Errorf("interrupted: %v, %q is left", err, left())
	}
}
