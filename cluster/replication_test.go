package cluster_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// replicationRig follows one key of a cluster: its owners, and what reads of it cost them.
type replicationRig struct {
	t  *testing.T
	c  *cluster.Cluster
	a  *cluster.Asker
	cl *client.Client
}

const hot = "hot"

func newReplicationRig(t *testing.T, kns int, set ...string) *replicationRig {
	c := up(t, cluster.Topology{KNs: kns}, set...)
	a, err := cluster.NewAsker(c.Topology().Network.Tool(3), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return &replicationRig{t: t, c: c, a: a, cl: newClient(t, c)}
}

func (r *replicationRig) address(ip string, s messages.Socket) string {
	r.t.Helper()
	a, err := r.c.Plan().Address(ip, s, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.String()
}

func (r *replicationRig) ownership() *hashring.Map {
	r.t.Helper()
	record, err := r.a.Record(within(r.t), r.address(r.c.Topology().Network.DPM(), messages.DPMControl), ownership.RecordName)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := ownership.Decode(record.GetValue(), record.GetVersion(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// replicate gives the key its owners, as an outside script may, and waits for the map that says so.
func (r *replicationRig) replicate(global, local int) {
	r.t.Helper()
	change := &messages.ReplicationChange{Keys: []*messages.ReplicatedKey{
		{Key: []byte(hot), GlobalFactor: uint32(global), LocalFactor: uint32(local)},
	}}
	if err := r.a.Send(r.address(r.c.Topology().Network.Monitor(0), messages.MonitorControl), change); err != nil {
		r.t.Fatal(err)
	}
	want := hashring.Replication{Global: global, Local: local}
	await(r.t, "the replication", func() bool { return r.ownership().Replication([]byte(hot)) == want })
}

// threads returns the counters of every thread that serves.
func (r *replicationRig) threads() map[string]*messages.KnStatistics {
	r.t.Helper()
	all := map[string]*messages.KnStatistics{}
	for _, m := range r.ownership().Members() {
		report, err := r.a.Statistics(within(r.t), r.address(m.PrivateIP, messages.KNControl))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, s := range report.GetThreads() {
			all[fmt.Sprintf("%s/%d", m.PrivateIP, s.GetThread())] = s
		}
	}
	return all
}

// read reads the key so many times, and returns the reads and round trips of each thread that served some.
func (r *replicationRig) read(times int) (reads, trips map[string]uint64) {
	r.t.Helper()
	before := r.threads()
	ctx, cancel := context.WithTimeout(within(r.t), deadline)
	defer cancel()
	for range times {
		if _, err := r.cl.Get(ctx, hot); err != nil {
			r.t.Fatal(err)
		}
	}
	reads, trips = map[string]uint64{}, map[string]uint64{}
	for name, after := range r.threads() {
		if n := after.GetReads() - before[name].GetReads(); n > 0 {
			reads[name], trips[name] = n, after.GetRoundTripsRead()-before[name].GetRoundTripsRead()
		}
	}
	return reads, trips
}

// TestReadsOfAReplicatedKeyAreSpread shows by counts what threads on a few shared cores cannot show by the clock: reads of a
// replicated key scale with its owners, because each owner serves an even share of them at one round trip each.
func TestReadsOfAReplicatedKeyAreSpread(t *testing.T) {
	// A long lease: on a machine that is busy with other tests no KN is to be taken for dead.
	r := newReplicationRig(t, 3, "dinomo.lease.length=10s", "dinomo.lease.renew-period=500ms")
	if err := r.cl.Put(within(t), hot, []byte("value")); err != nil {
		t.Fatal(err)
	}
	const times = 3000
	for _, x := range []struct {
		global, local int
		perRead       uint64 // round trips
	}{
		{1, 1, 0}, // cached: only its owner writes it
		{2, 1, 1}, {3, 1, 1}, {3, 2, 1},
		{1, 1, 0},
	} {
		if x.global*x.local > 1 || r.ownership().ReplicatedKeys() > 0 {
			r.replicate(x.global, x.local)
		}
		r.read(100 * x.global * x.local) // each owner learns the key's pointer, and the client the owners
		reads, trips := r.read(times)
		owners := uint64(x.global * x.local)
		if uint64(len(reads)) != owners {
			t.Errorf("%d x %d owners: %d of them served: %v", x.global, x.local, len(reads), reads)
		}
		for thread, n := range reads {
			// The client draws an owner for each read: 5 standard deviations of the worst case are 137 reads.
			if fair := uint64(times) / owners; n > fair+137 || n+137 < fair {
				t.Errorf("%d x %d owners: %s served %d of %d reads, want about %d", x.global, x.local, thread, n, times, fair)
			}
			if trips[thread] != x.perRead*n {
				t.Errorf("%d x %d owners: %s took %d round trips for %d reads, want %d each", x.global, x.local, thread, trips[thread], n, x.perRead)
			}
		}
	}
}
