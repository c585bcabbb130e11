package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/clustertest"
	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/cluster/run"
	"github.com/dinomo-kv/dinomo/messages"
)

func TestRunReportsWhatWasDone(t *testing.T) {
	const keys, value = 3000, 300
	directory, report := t.TempDir(), filepath.Join(t.TempDir(), "report.json")
	n := clustertest.Network(t)
	out, err := exec.Command(clustertest.Program(t), "run", "--network", n.String(), "--keys", fmt.Sprint(keys), "--value", fmt.Sprint(value),
		"--seconds", "1", "--report", report, "--keep", directory, "--set", "capacities.storage-cap=256MiB").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r run.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Phases) != 3 || r.Phases[0].Name != "load" || r.Phases[1].Name != "95/5" || r.Phases[2].Name != "50/50" {
		t.Fatalf("phases: %s", text)
	}
	load := r.Phases[0].Total
	if load.Operations != keys || load.BytesWrittenPerOp < value || load.BytesWrittenPerOp > 3*value || load.RoundTripsPerWrite > 1 {
		t.Errorf("load: %+v", load)
	}
	for _, p := range r.Phases {
		if len(p.KNs) != 2 {
			t.Fatalf("%s: %d KNs", p.Name, len(p.KNs))
		}
		sum := uint64(0)
		for _, k := range p.KNs {
			sum += k.Operations
			if k.CacheBytesUsed > k.CacheBytesBudget || k.CacheBytesBudget == 0 || k.Latency.P99 <= 0 {
				t.Errorf("%s: %+v", p.Name, k)
			}
		}
		// Stragglers are the clients' last operations: they may end between the KNs' statistics and the reports.
		if total := p.Total.Operations; sum < total || sum > total+1000 || len(p.Total.Errors) != 0 {
			t.Errorf("%s: KNs served %d, clients saw %d, errors %v", p.Name, sum, total, p.Total.Errors)
		}
	}
	for _, p := range r.Phases[1:] {
		f := p.Total
		if all := f.ValueHit + f.ShortcutHit + f.UnmergedHit + f.Miss; all < 0.999 || all > 1.001 {
			t.Errorf("%s: the ratios of reads add up to %v", p.Name, all)
		}
		if f.Miss > 0 && f.RoundTripsPerMiss < 2 {
			t.Errorf("%s: a miss in %v round trips", p.Name, f.RoundTripsPerMiss)
		}
		if f.Latency.P50 <= 0 || f.Latency.P50 > f.Latency.P99 || f.Latency.P99 > f.Latency.Max || f.Throughput <= 0 {
			t.Errorf("%s: %+v", p.Name, f.Latency)
		}
	}
	nothingLeft(t, n, directory)
	// What the run has left in the pool is sound, and the tools read it.
	out, err = exec.Command(clustertest.Program(t), "inspect", "verify", "--path", filepath.Join(directory, "pool.dinomo")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "sound") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

func TestInterruptLeavesNothing(t *testing.T) {
	n, directory := clustertest.Network(t), t.TempDir()
	elsewhere := t.TempDir()
	cmd := exec.Command(clustertest.Program(t), "up", "--network", n.String(), "--set", "dinomo.data-dir="+directory, "--set", "capacities.storage-cap=256MiB")
	cmd.Dir = elsewhere
	var log strings.Builder
	cmd.Stderr = &log
	lines := startUntil(t, cmd, cmd.StdoutPipe, "The cluster is ready")
	if len(listeners(n)) == 0 || len(processesOf(t, directory)) < 6 {
		t.Errorf("what is looked for is not there while the cluster runs: %v\n%s", processesOf(t, directory), log.String())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log.String())
	}
	nothingLeft(t, n, directory)
	if files, _ := os.ReadDir(elsewhere); len(files) > 0 {
		t.Errorf("files outside the data directory: %v", files)
	}
}

// TestInterruptedRunLeavesNothing interrupts the main job while it loads: no process, no socket, no file.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	n, elsewhere, temporary := clustertest.Network(t), t.TempDir(), t.TempDir()
	cmd := exec.Command(clustertest.Program(t), "run", "--network", n.String(), "--keys", "10000000", "--value", "10", "--report", "report.json")
	cmd.Dir, cmd.Env = elsewhere, append(os.Environ(), "TMPDIR="+temporary)
	lines := startUntil(t, cmd, cmd.StderrPipe, "load ...")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 || !strings.Contains(last, "interrupted") {
		t.Errorf("%v, its last line: %s", err, last)
	}
	nothingLeft(t, n, temporary)
	for _, directory := range []string{elsewhere, temporary} {
		if files, _ := os.ReadDir(directory); len(files) > 0 {
			t.Errorf("files left in %s: %v", directory, files)
		}
	}
}

func TestKilledStarterLeavesNothing(t *testing.T) {
	n, directory := clustertest.Network(t), t.TempDir()
	cmd := exec.Command(clustertest.Program(t), "up", "--network", n.String(), "--set", "dinomo.data-dir="+directory, "--set", "capacities.storage-cap=256MiB")
	startUntil(t, cmd, cmd.StdoutPipe, "The cluster is ready")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// A killed process loses its name before the kernel has closed its sockets, and nobody here can wait for it.
	await(t, "the end of all processes and their sockets", func() bool {
		return len(processesOf(t, directory)) == 0 && len(listeners(n)) == 0
	})
	nothingLeft(t, n, directory)
}

// startUntil starts a program and returns when it has printed a line with text in it, with the lines behind it.
func startUntil(t *testing.T, cmd *exec.Cmd, pipe func() (io.ReadCloser, error), text string) *bufio.Scanner {
	t.Helper()
	out, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return lines
		}
	}
	t.Fatalf("%q never printed %q: %v; its errors: %v", cmd.Args, text, cmd.Wait(), cmd.Stderr)
	return nil
}

func nothingLeft(t *testing.T, n cluster.Network, directory string) {
	t.Helper()
	if left := processesOf(t, directory); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	if left := listeners(n); len(left) > 0 {
		t.Errorf("left listening: %v", left)
	}
}

func TestKilledKNDoesNotStopTheOthers(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 3})
	ctx := within(t)
	cl := newClient(t, c)
	const keys = 200
	for i := range keys {
		if err := cl.Put(ctx, key(i), value(i)); err != nil {
			t.Fatal(err)
		}
	}
	victim := c.Topology().Network.KN(1)
	if _, err := c.KillNodes(ctx, victim); err != nil {
		t.Fatal(err)
	}
	// All keys are served again, the victim's by others: what was acknowledged is in the pool.
	for i := range keys {
		got, err := cl.Get(ctx, key(i))
		if err != nil || string(got) != string(value(i)) {
			t.Fatalf("key %d: %q, %v", i, got, err)
		}
	}
	report, err := c.ManagerStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range report.GetNodes() {
		want := "running"
		if n.GetPrivateIp() == victim {
			want = "stopped"
		}
		if n.GetState() != want || n.GetRestarts() != 0 {
			t.Errorf("%s is %s after %d restarts, want %s", n.GetPrivateIp(), n.GetState(), n.GetRestarts(), want)
		}
	}
}

func TestKNsComeAndGoWhileKeysAreUsed(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 1})
	ctx := within(t)
	cl := newClient(t, c)
	const keys = 100
	round := 0
	use := func() {
		t.Helper()
		for i := range keys {
			if err := cl.Put(ctx, key(i), value(i+round)); err != nil {
				t.Fatalf("round %d, put %d: %v", round, i, err)
			}
		}
		for i := range keys {
			if got, err := cl.Get(ctx, key(i)); err != nil || string(got) != string(value(i+round)) {
				t.Fatalf("round %d, key %d: %q, %v", round, i, got, err)
			}
		}
		round++
	}
	use()
	for _, churn := range []struct {
		text    string
		members int
	}{{"add:2:memory", 3}, {"remove:" + c.Topology().Network.KN(0) + ":memory", 2}, {"add:1:memory", 3}} {
		send(t, c, messages.ManageChurn, c.Topology().Network.Manage(), churn.text)
		await(t, churn.text, func() bool { use(); return c.Members(ctx) == churn.members })
		use()
	}
}

func TestPoolComesBack(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 2})
	ctx := within(t)
	cl := newClient(t, c)
	for i := range 100 {
		if err := cl.Put(ctx, key(i), value(i)); err != nil {
			t.Fatal(err)
		}
	}
	dpm := c.Topology().Network.DPM()
	old := c.Process(dpm)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the DPM's restart", func() bool { p := c.Process(dpm); return p != 0 && p != old })
	for i := range 100 {
		if got, err := cl.Get(ctx, key(i)); err != nil || string(got) != string(value(i)) {
			t.Fatalf("key %d after the restart: %q, %v", i, got, err)
		}
		if err := cl.Put(ctx, key(i), value(i+1)); err != nil {
			t.Fatalf("put %d after the restart: %v", i, err)
		}
	}
}

// TestAddedNodesAreBesideTheFirst: the cluster's own benchmark and routing nodes keep their addresses when the management node
// gives new ones out.
func TestAddedNodesAreBesideTheFirst(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 1, Benches: 1})
	ctx := within(t)
	n := c.Topology().Network
	for _, kind := range []messages.NodeKind{messages.KindBenchmark, messages.KindRouting} {
		send(t, c, messages.ManageChurn, n.Manage(), messages.Churn{Action: messages.ChurnAdd, Count: 1, Kind: kind}.String())
	}
	running := func() (ips []string) {
		report, err := c.ManagerStatus(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range report.GetNodes() {
			if s.GetRestarts() > 0 {
				t.Fatalf("%s %s failed: %s", s.GetKind(), s.GetPrivateIp(), s.GetDetail())
			}
			if s.GetState() == string(manager.Running) {
				ips = append(ips, s.GetPrivateIp())
			}
		}
		return ips
	}
	await(t, "the added nodes", func() bool {
		return slices.Contains(running(), n.Bench(1)) && slices.Contains(running(), n.Route(1))
	})
	await(t, "the added benchmark node's answer", func() bool { return answers(t, c, n.Bench(1), messages.BenchControl) })
	await(t, "the added routing node's answer", func() bool { return answers(t, c, n.Route(1), messages.RouteControl) })
	running() // and none of them has failed meanwhile
}

// answers says whether a node answers on its control socket.
func answers(t *testing.T, c *cluster.Cluster, ip string, s messages.Socket) bool {
	t.Helper()
	a, err := cluster.NewAsker(c.Topology().Network.Tool(3), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	to, err := c.Plan().Address(ip, s, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(within(t), time.Second)
	defer cancel()
	_, err = a.Status(ctx, to.String(), "")
	return err == nil
}

func TestOccupiedPortIsExplained(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 1})
	o := cluster.UpOptions{Topology: *c.Topology(), Binary: clustertest.Program(t), ReadyTimeout: deadline}
	o.Set = []string{"dinomo.data-dir=" + t.TempDir(), "capacities.storage-cap=256MiB"}
	second, err := cluster.Up(within(t), o)
	if err == nil {
		_ = second.Close()
		t.Fatal("two clusters on one network")
	}
	if text := err.Error(); !strings.Contains(text, "in use") || strings.Contains(text, "\n") {
		t.Errorf("not a line that says what is wrong: %q", text)
	}
}

func TestForeignPoolIsExplained(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "pool.dinomo"), []byte(strings.Repeat("something else ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	topology := cluster.Topology{Network: clustertest.Network(t), KNs: 1}
	topology.Set = []string{"dinomo.data-dir=" + directory}
	c, err := cluster.Up(within(t), cluster.UpOptions{Topology: topology, Binary: clustertest.Program(t), ReadyTimeout: deadline})
	if err == nil {
		_ = c.Close()
		t.Fatal("a foreign file was taken for a pool")
	}
	if text := err.Error(); !strings.Contains(text, "not a Dinomo pool") || !strings.Contains(text, "pool.dinomo") || strings.Contains(text, "\n") {
		t.Errorf("not a line that says what is wrong: %q", text)
	}
}

// TestWaitForTheDPMIsExplained starts a DPM that never serves, as if its pool were too large to be opened soon: whoever waits is told, and
// so is whoever gives up.
func TestWaitForTheDPMIsExplained(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dinomo")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != dpm ] || exec sleep 1000\nexec %s \"$@\"\n", clustertest.Program(t))
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	topology := cluster.Topology{Network: clustertest.Network(t), KNs: 1}
	topology.Set = []string{"dinomo.data-dir=" + t.TempDir(), "capacities.storage-cap=256MiB"}
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	told := ""
	c, err := cluster.Up(ctx, cluster.UpOptions{Topology: topology, Binary: program, ReadyTimeout: deadline, Waits: func(what string) {
		told = what
		cancel()
	}})
	if err == nil {
		_ = c.Close()
		t.Fatal("a cluster without a DPM is ready")
	}
	for _, text := range []string{told, err.Error()} {
		if !strings.Contains(text, "the DPM at "+topology.Network.DPM()) {
			t.Errorf("nothing about the DPM: %q", text)
		}
	}
}

// TestUpThatNobodyWaitsFor: a cluster that is given up before a node has answered is not ready.
func TestUpThatNobodyWaitsFor(t *testing.T) {
	topology := cluster.Topology{Network: clustertest.Network(t), KNs: 1}
	topology.Set = []string{"dinomo.data-dir=" + t.TempDir(), "capacities.storage-cap=256MiB"}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := cluster.Up(ctx, cluster.UpOptions{Topology: topology, Binary: clustertest.Program(t), ReadyTimeout: deadline})
	if err == nil {
		_ = c.Close()
		t.Fatal("it is ready")
	}
}

func key(i int) string { return fmt.Sprintf("key-%d", i) }

func value(i int) []byte { return fmt.Appendf(nil, "value %d", i) }

// send sends a frame to a node's socket.
func send(t *testing.T, c *cluster.Cluster, s messages.Socket, ip, text string) {
	t.Helper()
	a, err := cluster.NewAsker(c.Topology().Network.Tool(3), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	to, err := c.Plan().Address(ip, s, 0)
	if err = errors.Join(err, a.SendFrame(to.String(), []byte(text))); err != nil {
		t.Fatal(err)
	}
}
