package kn

import (
	"fmt"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// change is a rig in which one node of two owns everything, and the other is about to join.
type change struct {
	*rig
	c        *client
	boss     *peer
	one, two *hashring.Map
	moving   []string // keys that the join moves
	staying  []string
}

func newChange(t *testing.T, tune func(*Options)) *change {
	r := newRig(t, "tcp")
	x := &change{rig: r}
	for i := range 2 {
		o := r.nodeOptions(i)
		o.MapPeriod = time.Hour // it learns of maps from the coordinator alone, but for its first look
		if tune != nil {
			tune(&o)
		}
		if i == 0 {
			o.MapPeriod = 20 * time.Millisecond
			r.start(o)
			x.one = r.swap(r.spec(r.nodes[0]))
			continue
		}
		r.start(o)
	}
	x.c = r.client()
	x.boss = r.peer(r.ip(3), messages.MonitorControl)
	x.two = newMap(t, r.spec(r.nodes...))
	moves := hashring.Moves(x.one, x.two)
	for i := 0; len(x.moving) < 20 || len(x.staying) < 20; i++ {
		key := fmt.Sprint("key", i)
		if moves.Contains(hashring.KeyHash([]byte(key))) {
			x.moving = append(x.moving, key)
		} else {
			x.staying = append(x.staying, key)
		}
	}
	x.c.ready(x.one)
	for _, key := range append(x.moving[:20:20], x.staying[:20]...) {
		mustBe(t, show(x.c.ask(owner(t, x.one, key), put(key, "old")).Tuples[0]), "ok")
	}
	return x
}

func (x *change) prepared(id string) *messages.OwnershipPrepared {
	x.t.Helper()
	return control1(x.boss, "the answer to the prepare", func(m *messages.OwnershipPrepared) bool { return m.GetRequestId() == id })
}

// commit puts the second map in force and tells the nodes.
func (x *change) commit(t *testing.T) {
	x.swap(x.rig.spec(x.nodes...))
	for _, n := range x.nodes {
		x.c.tell(n, &messages.OwnershipCommit{Map: ownership.ToWire(x.two, "test"), ResponseAddress: x.boss.pull.Address(), RequestId: "c"})
	}
	for range x.nodes {
		control1(x.boss, "an acknowledgement", func(m *messages.OwnershipAck) bool { return m.GetEpoch() == 2 })
	}
}

// TestPlannedChange: while a change is prepared only what moves is held back; when it is in force the new owner has
// everything, and held requests are sent there.
func TestPlannedChange(t *testing.T) {
	x := newChange(t, nil)
	x.prepare(x.c, x.boss, x.nodes[0], x.two, "p1")
	x.prepare(x.c, x.boss, x.nodes[0], x.two, "p1") // doubled on its way
	if p := x.prepared("p1"); !p.GetOk() {
		t.Fatalf("not prepared: %s", p.GetDetail())
	}
	key := x.moving[0]
	old := owner(t, x.one, key)
	heldGet, heldPut := x.c.send(old, get(key)), x.c.send(old, put(key, "held"))
	for _, k := range x.staying[:20] {
		mustBe(t, show(x.c.ask(owner(t, x.one, k), get(k)).Tuples[0]), "=old")
	}
	x.c.nothing(heldGet, 20*time.Millisecond)

	x.commit(t)
	for _, id := range []string{heldGet, heldPut} {
		answer := x.c.receive(id).Tuples[0]
		if show(answer) != "WRONG_THREAD" || !answer.Invalidate || len(answer.Ips) != 1 || answer.Ips[0] != owner(t, x.two, key) {
			t.Errorf("held request: %s", messages.Text(answer))
		}
	}
	for _, k := range append(x.moving[:20:20], x.staying[:20]...) {
		mustBe(t, show(x.c.ask(owner(t, x.two, k), get(k)).Tuples[0]), "=old")
	}
	for _, k := range x.moving[:20] {
		mustBe(t, show(x.c.ask(owner(t, x.one, k), get(k)).Tuples[0]), "WRONG_THREAD")
	}
}

// TestAbortedChange: what was held back is served when the coordinator gives the change up.
func TestAbortedChange(t *testing.T) {
	x := newChange(t, nil)
	x.prepare(x.c, x.boss, x.nodes[0], x.two, "p1")
	x.prepared("p1")
	key := x.moving[0]
	at := owner(t, x.one, key)
	id := x.c.send(at, put(key, "held"))
	x.c.nothing(id, 20*time.Millisecond)
	x.c.tell(x.nodes[0], &messages.OwnershipAbort{RequestId: "p1", EpochFrom: 1})
	mustBe(t, show(x.c.receive(id).Tuples[0]), "ok")
	mustBe(t, show(x.c.ask(at, get(key)).Tuples[0]), "=held")
}

// TestUndecidedChange: when nobody decides, the node puts the same map in force under the next epoch and serves on.
func TestUndecidedChange(t *testing.T) {
	x := newChange(t, func(o *Options) { o.ResumeTimeout = 100 * time.Millisecond })
	x.prepare(x.c, x.boss, x.nodes[0], x.two, "p1")
	x.prepared("p1")
	key := x.moving[0]
	mustBe(t, show(x.c.ask(owner(t, x.one, key), get(key)).Tuples[0]), "=old")
	if _, version, err := x.pool.MetaGet(ownership.RecordName); err != nil || version != 2 {
		t.Errorf("record version %d, %v; want 2", version, err)
	}
}

// TestHeldRequestsAreBounded: past the bound they are refused, and others are not concerned.
func TestHeldRequestsAreBounded(t *testing.T) {
	x := newChange(t, func(o *Options) { o.HeldRequests = 5 })
	x.prepare(x.c, x.boss, x.nodes[0], x.two, "p1")
	x.prepared("p1")
	var sameThread []string
	for _, k := range x.moving {
		if owner(t, x.one, k) == owner(t, x.one, x.moving[0]) {
			sameThread = append(sameThread, k)
		}
	}
	at := owner(t, x.one, x.moving[0])
	var held []string
	for i := range 5 {
		held = append(held, x.c.send(at, get(sameThread[i%len(sameThread)])))
	}
	mustBe(t, show(x.c.ask(at, get(sameThread[0])).Tuples[0]), "OVERLOADED")
	x.c.tell(x.nodes[0], &messages.OwnershipAbort{RequestId: "p1", EpochFrom: 1})
	for _, id := range held {
		if got := show(x.c.receive(id).Tuples[0]); got != "=old" && got != "KEY_DNE" {
			t.Errorf("held request: %s", got)
		}
	}
}

// TestFencedNodeEnds: a fenced run of a node answers nothing from its cache any more and says why it ends (DPM-6, OWN-1).
func TestFencedNodeEnds(t *testing.T) {
	x := newChange(t, nil)
	n := x.nodes[0]
	key := x.staying[0]
	at := owner(t, x.one, key)
	mustBe(t, show(x.c.ask(at, get(key)).Tuples[0]), "=old")
	rank, incarnation := n.Rank()
	fence(t, x.rig, rank, incarnation)
	if err := n.Wait(); err == nil {
		t.Fatal("a fenced node ended without a reason")
	}
	if got := show(x.c.ask(at, get(key)).Tuples[0]); got != "WRONG_THREAD" && got != "TIMEOUT" {
		t.Errorf("a fenced node answers %s", got)
	}
	if got := show(x.c.ask(at, put(key, "x")).Tuples[0]); got == "ok" {
		t.Error("a fenced node acknowledges a put")
	}
}

// TestLeaseEndsWithThePool: while the pool is away cached values are served only until the lease ends; when it is back
// everything is.
func TestLeaseEndsWithThePool(t *testing.T) {
	for _, backend := range []string{"tcp", "shm"} {
		t.Run(backend, func(t *testing.T) {
			r := newRig(t, backend)
			r.options.LeaseLength = 300 * time.Millisecond
			_ = r.pool.Close()
			r.serve()
			m := r.cluster(1)
			c := r.client()
			at := owner(t, m, "k")
			c.until("ok", at, func() *messages.KeyRequest { return put("k", "v") })
			if err := r.pool.Close(); err != nil {
				t.Fatal(err)
			}
			c.until("TIMEOUT", at, func() *messages.KeyRequest { return get("k") })
			mustBe(t, show(c.ask(at, put("k", "w")).Tuples[0]), "TIMEOUT")
			r.serve()
			c.until("=v", at, func() *messages.KeyRequest { return get("k") })
			c.until("ok", at, func() *messages.KeyRequest { return put("k", "x") })
			mustBe(t, show(c.ask(at, get("k")).Tuples[0]), "=x")
		})
	}
}

func fence(t *testing.T, r *rig, rank hashring.Rank, incarnation uint64) {
	t.Helper()
	if err := r.pool.Fence(fabric.Rank(rank), fabric.Incarnation(incarnation)); err != nil {
		t.Fatal(err)
	}
}
