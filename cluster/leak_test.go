package cluster

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/conf"
)

// TestRolesLeaveNothingInTheProcess runs a cluster of one KN inside this process, twice, and wants its goroutines back.
func TestRolesLeaveNothingInTheProcess(t *testing.T) {
	environment := map[string]string{
		"PRIVATE_IP": "127.77.5.5", "SEED_IP": "127.77.5.5", "MGMT_IP": "NULL", "MON_IPS": "127.77.5.5", "ROUTING_IPS": "127.77.5.5", "DPM_IPS": "127.77.5.5",
	}
	before := runtime.NumGoroutine()
	for round := range 2 {
		l, err := conf.Load(conf.Sources{
			Environment: func(name string) (string, bool) { v, ok := environment[name]; return v, ok },
			Set: []string{"dinomo.data-dir=" + t.TempDir(), "capacities.storage-cap=128MiB", "kvs_config.log-block-size=1MiB", "dinomo.limits.value=64KiB",
				"capacities.memory-cap=4MiB", "dinomo.fabric=tcp", "ib_config.num_initial_memory_nodes=1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 4)
		env := Env{Logf: func(string, ...any) {}}
		for _, run := range []func(context.Context, *conf.Loaded, Env) error{RunDPM, RunMonitor, RunRoute, RunKN} {
			go func() { ended <- run(ctx, l, env) }()
		}
		awaitMember(t, ctx, l)
		cancel()
		for range 4 {
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("a role does not end")
			}
		}
	}
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// awaitMember waits until the routing node's map has the KN.
func awaitMember(t *testing.T, ctx context.Context, l *conf.Loaded) {
	t.Helper()
	a, err := NewAsker("127.77.5.9", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		s, err := a.Status(ctx, "tcp://"+l.Routing.IP+":8700", "")
		if err != nil {
			t.Fatal(err)
		}
		if s.GetGauges()["members"] == 1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
