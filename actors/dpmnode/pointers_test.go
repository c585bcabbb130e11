package dpmnode

import (
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// swap puts the next map in force, in which some keys have two owners.
func (r *rig) swap(replicated ...string) {
	r.t.Helper()
	spec := hashring.Spec{Epoch: hashring.Epoch(r.pool.version + 1), Replicated: map[string]hashring.Replication{}}
	for i, ip := range []string{"127.0.10.100", "127.0.10.101"} {
		spec.Members = append(spec.Members, hashring.Member{Rank: hashring.Rank(i + 1), PublicIP: ip, PrivateIP: ip, Threads: 1, Incarnation: 1})
	}
	for _, key := range replicated {
		spec.Replicated[key] = hashring.Replication{Global: 2, Local: 1}
	}
	m, err := hashring.NewMap(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	record, err := ownership.Encode(m, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	s := one[*messages.MetaState](r.t, r.ask(&messages.MetaSwap{
		ResponseAddress: r.back(), Name: ownership.RecordName, ExpectedVersion: r.pool.version, Value: record,
	}))
	if !s.GetSwapped() {
		r.t.Fatalf("swap: %v", s)
	}
}

// change asks for pointers to be installed or removed and says on which keys the pool acted.
func (r *rig) change(install bool, keys ...string) []string {
	r.t.Helper()
	r.pool.changed = nil
	m := &messages.PointersChange{ResponseAddress: r.back(), RequestId: "x", Install: install}
	for _, key := range keys {
		m.Keys = append(m.Keys, []byte(key))
	}
	answers := append(r.ask(m), r.work()...)
	s := one[*messages.PointersState](r.t, answers)
	if s.GetError() != "" || int(s.GetDone()) != len(r.pool.changed) {
		r.t.Fatalf("%v", s)
	}
	return r.pool.changed
}

func (r *rig) wantChange(what string, install bool, keys []string, want ...string) {
	r.t.Helper()
	if got := r.change(install, keys...); !slices.Equal(got, want) {
		r.t.Errorf("%s: the pool acted on %q, want %q", what, got, want)
	}
}

// TestPointersOutliveLateRemovals: two M-nodes take a key's replication back and give it again; the first one's removal
// comes late. It must not take away what the second one has installed.
func TestPointersOutliveLateRemovals(t *testing.T) {
	r := newRig(t, 8)
	k := []string{"k"}
	r.swap()
	r.wantChange("installed for the next map", true, k, "k")
	r.swap("k")
	r.wantChange("the key is replicated", false, k)
	r.swap()
	r.wantChange("installed for the next map by another M-node", true, k, "k")
	r.wantChange("the next map may be swapped in at any moment", false, k)
	r.swap("k")
	r.wantChange("the key is replicated again", false, k)
	r.swap()
	r.wantChange("nobody needs it", false, []string{"k", "other"}, "k", "other")
	r.wantChange("installed for a change that another one overtakes", true, k, "k")
	r.swap("other")
	r.wantChange("that change is lost", false, []string{"k", "other"}, "k")
}

// TestPointersAfterARestart: what was installed before is not known, so everything is kept until the map changes.
func TestPointersAfterARestart(t *testing.T) {
	r := newRig(t, 8)
	r.swap("k")
	r.swap()
	fresh := newPointers(r.pool)
	if got, err := fresh.removable(r.pool, [][]byte{[]byte("k")}); err != nil || len(got) != 0 {
		t.Errorf("%q may be removed, %v", got, err)
	}
	r.swap()
	if got, err := fresh.removable(r.pool, [][]byte{[]byte("k")}); err != nil || len(got) != 1 {
		t.Errorf("%q may be removed, %v", got, err)
	}
}

// TestPointerChangesTakeTurns: a removal that is being carried out and an installation do not overlap.
func TestPointerChangesTakeTurns(t *testing.T) {
	r := newRig(t, 8)
	r.swap()
	r.swap()
	remove := &messages.PointersChange{ResponseAddress: r.back(), RequestId: "remove", Keys: [][]byte{[]byte("k")}}
	install := &messages.PointersChange{ResponseAddress: r.back(), RequestId: "install", Install: true, Keys: [][]byte{[]byte("k")}}
	r.ask(remove)
	r.ask(remove) // a repetition joins the one that runs
	if s := one[*messages.PointersState](t, r.ask(install)); s.GetError() == "" {
		t.Error("installed while the same pointer is removed")
	}
	r.work()
	if answers := r.ask(install); len(answers) != 0 {
		t.Errorf("refused although nothing runs: %v", answers)
	}
	if s := one[*messages.PointersState](t, r.ask(remove)); s.GetError() == "" {
		t.Error("removed while the same pointer is installed")
	}
	if s := one[*messages.PointersState](t, r.work()); s.GetDone() != 1 {
		t.Errorf("%v", s)
	}
}
