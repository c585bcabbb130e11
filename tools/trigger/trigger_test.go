package trigger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// startNode runs a benchmark node at an IP.
func startNode(t *testing.T, cluster *clienttest.Cluster, ip string, threads, index, nodes int) {
	t.Helper()
	n, err := bench.NewNode(bench.Options{IP: ip, Threads: threads, NodeIndex: index, Nodes: nodes, Seed: 1,
		Client: client.Options{Routing: []string{cluster.Routing()}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.Close()
	})
}

func startCluster(t *testing.T) *clienttest.Cluster {
	t.Helper()
	c, err := clienttest.Start(clienttest.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// management is a fake management node: it starts and stops nothing, and says that it has.
type management struct {
	mu     sync.Mutex
	nodes  []string
	orders []string
	failed bool // its one KN was killed
}

func startManagement(t *testing.T, ip string, nodes ...string) *management {
	t.Helper()
	m := &management{nodes: nodes}
	at := func(s messages.Socket) string {
		a, err := messages.PlanDinomo.Address(ip, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		return a.String()
	}
	churn, err := runtime.ListenPull(at(messages.ManageChurn), runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { churn.Close() })
	rep, err := runtime.ListenRep(at(messages.ManageControl), m.answer, runtime.RepOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rep.Close() })
	go func() {
		for b := range churn.Batches() {
			for _, frame := range b.Frames {
				m.obey(string(frame))
			}
			b.Release()
		}
	}()
	return m
}

func (m *management) obey(order string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.orders = append(m.orders, order)
	c, err := messages.ParseChurn(order)
	switch {
	case err == nil && c.Action == messages.ChurnFail:
		m.failed = true
	case err != nil || c.Kind != messages.KindBenchmark:
	case c.Action == messages.ChurnAdd:
		for range c.Count {
			m.nodes = append(m.nodes, fmt.Sprintf("127.0.94.%d", 50+len(m.nodes)))
		}
	case c.Action == messages.ChurnRemove:
		for i, ip := range m.nodes {
			if ip == c.IP {
				m.nodes = append(m.nodes[:i:i], m.nodes[i+1:]...)
				break
			}
		}
	}
}

func (m *management) answer([]byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &messages.StatusReport{Role: "manage"}
	for _, ip := range m.nodes {
		r.Nodes = append(r.Nodes, &messages.NodeStatus{Kind: "benchmark", PrivateIp: ip, State: "running"})
	}
	if !m.failed {
		r.Nodes = append(r.Nodes, &messages.NodeStatus{Kind: "memory", PrivateIp: "127.0.94.99", State: "running"})
	}
	r.Nodes = append(r.Nodes, &messages.NodeStatus{Kind: "benchmark", PrivateIp: "127.0.94.98", State: "failed"})
	frame, _ := messages.Marshal(messages.Envelope("manage", r))
	return frame
}

func (m *management) seen() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.orders...)
}

func TestTwoNodes(t *testing.T) {
	cluster := startCluster(t)
	startNode(t, cluster, "127.0.94.1", 2, 0, 2)
	startNode(t, cluster, "127.0.94.2", 1, 1, 2)
	var mu sync.Mutex
	finished := map[int]bool{}
	tr, err := New(Options{Benchmarks: []string{"127.0.94.1", "127.0.94.2"}, Progress: func(p bench.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Finished {
			finished[p.Thread] = true
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ctx := context.Background()
	r, err := tr.RunCommand(ctx, command.AnnaWarm{Keys: 300, ValueBytes: 10, Threads: 2})
	if err != nil || r.Threads != 3 || r.Operations != 450 || cluster.Keys() != 300 {
		t.Fatalf("%v; %+v, %d keys", err, r.Summary(), cluster.Keys())
	}
	if len(finished) != 3 || !finished[2] {
		t.Errorf("finished %v", finished)
	}
	r, err = tr.RunCommand(ctx, command.Run{ReadRatio: 0.5, Keys: 300, ValueBytes: 10, ReportPeriod: time.Second, Duration: 200 * time.Millisecond, Outstanding: 4, UpdateOnly: true})
	if err != nil || r.Threads != 3 || r.Reads.Count() == 0 || r.Writes.Count() == 0 {
		t.Errorf("%v; %+v", err, r.Summary())
	}
	// One node has fewer threads than the command says: it refuses, and the other's work still counts.
	r, err = tr.RunCommand(ctx, command.Load{Keys: 300, ValueBytes: 10, ThreadsPerNode: 2, Nodes: 2})
	if !errors.Is(err, bench.ErrRefused) || r.Operations == 0 {
		t.Errorf("%v; %+v", err, r.Summary())
	}
}

func TestSilentNode(t *testing.T) {
	tr, err := New(Options{Benchmarks: []string{"127.0.94.7"}, Silence: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.RunCommand(context.Background(), command.AnnaCache{Keys: 1}); !errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), "127.0.94.7") {
		t.Errorf("%v", err)
	}
	if _, err := tr.RunCommand(context.Background(), command.Fail{Count: 1}); !errors.Is(err, ErrNoManagement) {
		t.Errorf("%v", err)
	}
}

func TestChurn(t *testing.T) {
	m := startManagement(t, "127.0.94.10", "127.0.94.11", "127.0.94.12")
	tr, err := New(Options{Benchmarks: []string{"127.0.94.11"}, Management: []string{"127.0.94.10"}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	ctx := context.Background()
	for _, c := range []command.Command{command.Add{Count: 2}, command.Remove{Count: 3}, command.Fail{Count: 1}} {
		if _, err := tr.RunCommand(ctx, c); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	}
	if nodes := tr.Nodes(); len(nodes) != 1 || nodes[0] != "127.0.94.11" {
		t.Errorf("nodes %v", nodes)
	}
	for _, c := range []command.Command{command.Remove{Count: 9}, command.Fail{Count: 1}} { // the one KN is gone
		if _, err := tr.RunCommand(ctx, c); err == nil || !strings.Contains(err.Error(), "runs only") {
			t.Errorf("%s of more than there are: %v", c, err)
		}
	}
	want := "add:2:benchmark remove:127.0.94.12:benchmark remove:127.0.94.52:benchmark remove:127.0.94.53:benchmark fail:1:memory"
	for range 1000 {
		if strings.Join(m.seen(), " ") == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("orders %v", m.seen())
}

func TestPrompt(t *testing.T) {
	cluster := startCluster(t)
	startNode(t, cluster, "127.0.94.20", 1, 0, 1)
	run := func(o MainOptions) (int, string, string) {
		var out, errs strings.Builder
		o.Benchmarks, o.Out, o.Err = []string{"127.0.94.20"}, &out, &errs
		return Main(context.Background(), o), out.String(), errs.String()
	}
	var record bytes.Buffer
	status, out, errs := run(MainOptions{Record: &record, In: strings.NewReader("# story\n\nload:10:5:1:1\nWARM:1:2\nWARM-RUN:1:1:1:1:1\nHELP\nquit\nFLY:1\n")})
	for _, want := range []string{"LOAD:10:5:1:1\n  10 operations in", "for example LOAD:200000"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	for _, want := range []string{"WARM:num_keys", "refused", "first"} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is not in %s", want, errs)
		}
	}
	if status != StatusUsage || strings.Contains(errs, "FLY") || record.String() != "LOAD:10:5:1:1\nWARM-RUN:1:1:1:1:1\n" {
		t.Errorf("status %d, record %q, errors %s", status, record.String(), errs)
	}
	if commands, err := bench.ReadCommands(&record); err != nil || len(commands) != 2 {
		t.Errorf("%v, %v", commands, err)
	}
	if status, out, _ = run(MainOptions{Args: []string{"CACHE:5"}, JSON: true}); status != StatusOK {
		t.Errorf("status %d", status)
	}
	var s bench.Summary
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Operations != 5 {
		t.Errorf("%v in %s", err, out)
	}
	if status, _, _ = run(MainOptions{Args: []string{"WARM-RUN:1:1:1:1:1"}}); status != StatusFailed {
		t.Errorf("status %d", status)
	}
	if status, out, errs = run(MainOptions{Args: []string{"CACHE:5"}, Options: Options{NoWait: true, Threads: 1}}); status != StatusOK || out != "CACHE:5 sent\n" {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	if got := strings.Join(complete("w"), " "); got != "WARM WARM-RUN" {
		t.Errorf("%s", got)
	}
}
