package cluster_test

import (
	"maps"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/messages"
)

// managed asks the management node for its running nodes, by IP; it returns nil while that does not answer.
func managed(t *testing.T, c *cluster.Cluster) map[string]*messages.NodeStatus {
	t.Helper()
	report, err := c.ManagerStatus(within(t))
	if err != nil {
		return nil
	}
	nodes := map[string]*messages.NodeStatus{}
	for _, n := range report.GetNodes() {
		if n.GetState() == string(manager.Running) {
			nodes[n.GetPrivateIp()] = n
		}
	}
	return nodes
}

// processes returns the numbers of the processes of nodes.
func processes(nodes map[string]*messages.NodeStatus) map[string]uint64 {
	pids := map[string]uint64{}
	for ip, n := range nodes {
		pids[ip] = n.GetPid()
	}
	return pids
}

// restartManagement kills the management node and waits for the next one.
func restartManagement(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ip := c.Topology().Network.Manage()
	old := c.Process(ip)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the next management node", func() bool { p := c.Process(ip); return p != 0 && p != old && managed(t, c) != nil })
}

// TestKNsOutliveTheManagementNode is MGMT-3 with the thing running: KNs serve on under the same process numbers, their restart
// counts are kept, and the next management node starts, fails, removes and restarts them as its own.
func TestKNsOutliveTheManagementNode(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 2})
	ctx := within(t)
	cl := newClient(t, c)
	n := c.Topology().Network
	kn := n.KN(0)
	use := func() {
		t.Helper()
		for i := range 50 {
			if err := cl.Put(ctx, key(i), value(i)); err != nil {
				t.Fatal(err)
			}
			if got, err := cl.Get(ctx, key(i)); err != nil || string(got) != string(value(i)) {
				t.Fatalf("key %d: %q, %v", i, got, err)
			}
		}
	}
	kill := func(restarts uint32) {
		t.Helper()
		if err := syscall.Kill(int(managed(t, c)[kn].GetPid()), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "the KN's restart", func() bool { return managed(t, c)[kn].GetRestarts() == restarts && c.Members(ctx) == 2 })
		use()
	}
	kill(1) // so that there is a count to be kept
	before := processes(managed(t, c))
	restartManagement(t, c)
	if after := processes(managed(t, c)); len(before) != 2 || !maps.Equal(before, after) {
		t.Errorf("processes were %v and are %v", before, after)
	}
	use()
	restarts, err := c.Plan().Address(n.Manage(), messages.ManageRestartCount, 0)
	if err != nil {
		t.Fatal(err)
	}
	if count, err := runtime.Request(ctx, restarts.String(), []byte("restart:"+kn), runtime.ReqOptions{}); err != nil || string(count) != "1" {
		t.Errorf("restart count %q, %v", count, err)
	}
	kill(2) // it watches processes that are not its children

	// A KN that was killed while there was no management node is noticed by the next one.
	victim := n.KN(1)
	dead := managed(t, c)[victim].GetPid()
	old := c.Process(n.Manage())
	for _, pid := range []int{old, int(dead)} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the dead KN's restart", func() bool { return managed(t, c)[victim].GetRestarts() == 1 && c.Members(ctx) == 2 })
	use()

	// What was asked for by a message counts, not what the management node was started with.
	send(t, c, messages.ManageChurn, n.Manage(), "remove:"+victim+":memory")
	await(t, "the removal", func() bool { return managed(t, c)[victim] == nil && c.Members(ctx) == 1 })
	restartManagement(t, c)
	send(t, c, messages.ManageChurn, n.Manage(), "fail:1:memory")
	await(t, "the end of the last KN", func() bool { nodes := managed(t, c); return nodes != nil && len(nodes) == 0 })
	send(t, c, messages.ManageChurn, n.Manage(), "add:2:memory")
	await(t, "two KNs", func() bool { return len(managed(t, c)) == 2 && c.Members(ctx) == 2 })
	use()
}

// TestCloseEndsNodesOfADeadManagementNode: nobody is there to end the KNs in order, and still none is left (CLU-1).
func TestCloseEndsNodesOfADeadManagementNode(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 2})
	nodes := processes(managed(t, c))
	if err := syscall.Kill(c.Process(c.Topology().Network.Manage()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if len(nodes) != 2 {
		t.Errorf("KNs: %v", nodes)
	}
	if left := processesOf(t, c.Conf().Dinomo.DataDirectory); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Conf().Dinomo.DataDirectory, "nodes-*.json")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
