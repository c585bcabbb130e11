package dpmnode

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/messages"
)

const (
	dpmIP = "127.0.10.2"
	knIP  = "127.0.10.100"
)

// fakePool has one rank, and does nothing but remember what it was asked.
type fakePool struct {
	blob     []byte
	version  uint64
	broken   error
	rank     dpm.RankStatus
	fences   int
	drains   int
	pointers int
	changed  []string // keys of the last change of pointers
}

func (p *fakePool) PoolID() fabric.PoolID      { return fabric.PoolID{1, 2, 3} }
func (p *fakePool) ServerEpoch() uint64        { return 7 }
func (p *fakePool) Durability() string         { return "process" }
func (p *fakePool) Figures() map[string]uint64 { return map[string]uint64{"segments": 42} }
func (p *fakePool) Ranks() []dpm.RankStatus    { return []dpm.RankStatus{p.rank} }

func (p *fakePool) MetaGet(name string) ([]byte, uint64, error) {
	if p.version == 0 {
		return nil, 0, fmt.Errorf("%w: %q", dpm.ErrNoRecord, name)
	}
	return p.blob, p.version, p.broken
}

func (p *fakePool) MetaCAS(_ string, expect uint64, blob []byte) (uint64, error) {
	if p.broken != nil {
		return 0, p.broken
	}
	if expect != p.version {
		return p.version, dpm.ErrConflict
	}
	p.blob, p.version = blob, p.version+1
	return p.version, nil
}

func (p *fakePool) Fence(_ fabric.Rank, upTo fabric.Incarnation) error {
	p.fences++
	if p.rank.Incarnation <= upTo {
		p.rank.State = format.RankFenced
	}
	return p.broken
}

func (p *fakePool) FenceUnchanged(rank fabric.Rank, upTo fabric.Incarnation, word uint64) (bool, error) {
	if p.rank.Lease != word {
		return false, nil
	}
	return true, p.Fence(rank, upTo)
}

func (p *fakePool) DrainRank(context.Context, fabric.Rank, fabric.Incarnation) error {
	p.drains++
	p.rank.Unmerged = 0
	return p.broken
}

func (p *fakePool) PointerChange(keys [][]byte, _ bool) (int, error) {
	p.pointers++
	for _, key := range keys {
		p.changed = append(p.changed, string(key))
	}
	return len(keys), p.broken
}

// rig is a control actor on a simulated network. Chores wait until the test runs them.
type rig struct {
	t       *testing.T
	net     *runtime.SimNet
	host    *runtime.SimHost
	pool    *fakePool
	chores  []func()
	answers []messages.Message
}

func newRig(t *testing.T, maxChores int) *rig {
	r := &rig{t: t, net: runtime.NewSimNet(1, runtime.SimOptions{}), pool: &fakePool{
		rank: dpm.RankStatus{Rank: 3, Incarnation: 5, State: format.RankHeld, Identity: knIP, Lease: 77, Unmerged: 2, Process: 1234, QueuePairs: 1},
	}}
	o := Options{IP: dpmIP, MaxChores: maxChores, Listen: func(*dpm.Pool, fabric.ListenOptions) (fabric.Listener, error) { return nil, nil }}
	o.EnsureDefaults()
	r.host = runtime.NewSimHost(r.net, dpmIP)
	w := surroundings{
		ctx: t.Context(), pool: r.pool, verbs: func() map[string]uint64 { return map[string]uint64{"fabric_fences": 9} },
		self:  func(body any) { _ = r.host.Tell(actorName, body) },
		spawn: func(work func()) { r.chores = append(r.chores, work) },
	}
	if err := r.host.Spawn(actorName, func() runtime.Actor { return newControl(&o, w) }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.host.Bind(actorName, "control", r.address(dpmIP, messages.DPMControl)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.net.Node(knIP).Listen(r.address(knIP, messages.KNControl), func(frame []byte) {
		m, err := messages.ParseControlFrame(frame)
		if err != nil {
			t.Fatal(err)
		}
		r.answers = append(r.answers, m)
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) address(ip string, s messages.Socket) string {
	a, err := messages.PlanDinomo.Address(ip, s, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.String()
}

// ask sends a message and returns what has come back since the last ask.
func (r *rig) ask(m messages.Message) []messages.Message {
	r.t.Helper()
	frame, err := messages.ControlFrame(knIP, m)
	if err = errors.Join(err, r.net.Node(knIP).Send(r.address(dpmIP, messages.DPMControl), frame)); err != nil {
		r.t.Fatal(err)
	}
	return r.settle()
}

func (r *rig) settle() []messages.Message {
	r.net.RunFor(10 * time.Millisecond)
	got := r.answers
	r.answers = nil
	return got
}

// work runs the chores that wait.
func (r *rig) work() []messages.Message {
	for _, chore := range r.chores {
		chore()
	}
	r.chores = nil
	return r.settle()
}

// one returns the only answer, of a type.
func one[M messages.Message](t *testing.T, answers []messages.Message) M {
	t.Helper()
	if len(answers) != 1 {
		t.Fatalf("%d answers, want 1: %v", len(answers), answers)
	}
	m, ok := answers[0].(M)
	if !ok {
		t.Fatalf("answer %T", answers[0])
	}
	return m
}

func (r *rig) back() string { return r.address(knIP, messages.KNControl) }

func TestMetadata(t *testing.T) {
	r := newRig(t, 0)
	read := func(known uint64) *messages.MetaState {
		return one[*messages.MetaState](t, r.ask(&messages.MetaRead{ResponseAddress: r.back(), RequestId: "1", Name: ownership.RecordName, KnownVersion: known}))
	}
	swap := func(expected uint64, value string) *messages.MetaState {
		return one[*messages.MetaState](t, r.ask(&messages.MetaSwap{
			ResponseAddress: r.back(), RequestId: "2", Name: ownership.RecordName, ExpectedVersion: expected, Value: []byte(value)}))
	}
	if s := read(0); s.GetVersion() != 0 || s.GetError() != "" || s.GetRequestId() != "1" {
		t.Errorf("no record: %v", s)
	}
	if s := swap(0, "one"); !s.GetSwapped() || s.GetVersion() != 1 || string(s.GetValue()) != "one" {
		t.Errorf("first swap: %v", s)
	}
	if s := swap(0, "two"); s.GetSwapped() || s.GetVersion() != 1 || string(s.GetValue()) != "one" || s.GetError() != "" {
		t.Errorf("a swap that lost: %v", s)
	}
	if s := read(0); s.GetVersion() != 1 || string(s.GetValue()) != "one" {
		t.Errorf("read: %v", s)
	}
	if s := read(1); s.GetVersion() != 1 || s.GetValue() != nil {
		t.Errorf("read of a known version: %v", s)
	}
	r.pool.broken = errors.New("disk on fire")
	if s := swap(1, "two"); s.GetSwapped() || s.GetError() == "" {
		t.Errorf("swap in a broken pool: %v", s)
	}
	if s := read(0); s.GetError() == "" {
		t.Errorf("read of a broken pool: %v", s)
	}
}

func TestPoolState(t *testing.T) {
	r := newRig(t, 0)
	r.pool.version = 4
	s := one[*messages.PoolState](t, r.ask(&messages.PoolQuery{ResponseAddress: r.back(), RequestId: "p"}))
	if s.GetServerEpoch() != 7 || s.GetOwnershipVersion() != 4 || s.GetCounters()["segments"] != 42 || s.GetCounters()["fabric_fences"] != 9 || len(s.GetRanks()) != 1 {
		t.Errorf("%v", s)
	}
	k := s.GetRanks()[0]
	if k.GetRank() != 3 || k.GetIncarnation() != 5 || k.GetPrivateIp() != knIP || k.GetLeaseWord() != 77 || k.GetProcess() != 1234 ||
		!k.GetAttached() || k.GetFenced() || k.GetDrained() || k.GetUnmergedSegments() != 2 {
		t.Errorf("%v", k)
	}
}

func TestFenceAndDrain(t *testing.T) {
	r := newRig(t, 0)
	fence := &messages.RankFence{ResponseAddress: r.back(), RequestId: "f", Rank: 3, UptoIncarnation: 5}
	if got := r.ask(fence); len(got) != 0 {
		t.Errorf("an answer before the fence is through: %v", got)
	}
	r.ask(fence) // repeated: no second fence, one answer
	if s := one[*messages.RankState](t, r.work()); !s.GetFenced() || s.GetDrained() || s.GetRequestId() != "f" || r.pool.fences != 1 {
		t.Errorf("%v after %d fences", s, r.pool.fences)
	}
	drain := &messages.RankDrain{ResponseAddress: r.back(), RequestId: "d", Rank: 3, Incarnation: 5}
	if s := one[*messages.RankState](t, r.ask(drain)); s.GetDrained() || s.GetUnmergedSegments() != 2 || !s.GetFenced() {
		t.Errorf("how far it is: %v", s)
	}
	if s := one[*messages.RankState](t, r.work()); !s.GetDrained() || s.GetUnmergedSegments() != 0 {
		t.Errorf("drained: %v", s)
	}
	if s := one[*messages.RankState](t, r.ask(drain)); !s.GetDrained() || len(r.chores) != 0 || r.pool.drains != 1 {
		t.Errorf("what is drained for good was drained again: %v", s)
	}
}

func TestDrainOfALivingRankIsNotForGood(t *testing.T) {
	r := newRig(t, 0)
	drain := &messages.RankDrain{ResponseAddress: r.back(), RequestId: "d", Rank: 3, Incarnation: 5}
	for i := range 2 {
		if s := one[*messages.RankState](t, r.ask(drain)); s.GetDrained() || s.GetFenced() {
			t.Errorf("%d: %v", i, s)
		}
		if s := one[*messages.RankState](t, r.work()); !s.GetDrained() || s.GetFenced() || r.pool.drains != i+1 {
			t.Errorf("%d: %v", i, s)
		}
	}
	// It is fenced while a drain runs: what that merged is not all.
	r.ask(drain)
	r.pool.rank.State = format.RankFenced
	r.work()
	if s := one[*messages.RankState](t, r.ask(drain)); s.GetDrained() {
		t.Errorf("a drain from before the fence counts: %v", s)
	}
}

func TestFenceOnSuspicion(t *testing.T) {
	r := newRig(t, 0)
	fence := &messages.RankFence{ResponseAddress: r.back(), RequestId: "f", Rank: 3, UptoIncarnation: 5, OnlyIfUnchanged: true, LeaseWord: 76}
	r.ask(fence)
	if s := one[*messages.RankState](t, r.work()); s.GetFenced() || s.GetError() != "" || r.pool.fences != 0 {
		t.Errorf("a rank that has renewed: %v", s)
	}
	fence.LeaseWord = 77
	r.ask(fence)
	if s := one[*messages.RankState](t, r.work()); !s.GetFenced() {
		t.Errorf("a rank that has not: %v", s)
	}
	r.pool.rank.Lease = 1 // whatever the fence left there
	r.ask(fence)
	if s := one[*messages.RankState](t, r.work()); !s.GetFenced() || r.pool.fences != 2 {
		t.Errorf("repeated: %v", s)
	}
}

func TestEarlierIncarnation(t *testing.T) {
	r := newRig(t, 0)
	r.ask(&messages.RankFence{ResponseAddress: r.back(), RequestId: "f", Rank: 3, UptoIncarnation: 4})
	s := one[*messages.RankState](t, r.work())
	if !s.GetFenced() || s.GetIncarnation() != 4 || r.pool.rank.State != format.RankHeld {
		t.Errorf("%v, and the present holder is %v", s, r.pool.rank.State)
	}
}

func TestFailuresAreTold(t *testing.T) {
	r := newRig(t, 1)
	if s := one[*messages.RankState](t, r.ask(&messages.RankFence{ResponseAddress: r.back(), Rank: 9})); s.GetError() == "" || s.GetFenced() {
		t.Errorf("a rank that never was: %v", s)
	}
	if s := one[*messages.RankState](t, r.ask(&messages.RankDrain{ResponseAddress: r.back(), Rank: 9})); s.GetError() == "" || s.GetDrained() {
		t.Errorf("a rank that never was: %v", s)
	}
	r.pool.broken = errors.New("disk on fire")
	r.ask(&messages.RankFence{ResponseAddress: r.back(), Rank: 3, UptoIncarnation: 5})
	s := one[*messages.PointersState](t, r.ask(&messages.PointersChange{ResponseAddress: r.back(), RequestId: "x", Install: true, Keys: [][]byte{{1}}}))
	if s.GetError() == "" || s.GetDone() != 0 {
		t.Errorf("too many chores: %v", s)
	}
	if s := one[*messages.RankState](t, r.work()); s.GetError() == "" || s.GetFenced() {
		t.Errorf("a fence that failed: %v", s)
	}
	r.ask(&messages.PointersChange{ResponseAddress: r.back(), RequestId: "x", Install: true, Keys: [][]byte{{1}, {2}}})
	if s := one[*messages.PointersState](t, r.work()); s.GetError() == "" || s.GetDone() != 2 {
		t.Errorf("pointers: %v", s)
	}
}

func TestHostileFrames(t *testing.T) {
	r := newRig(t, 0)
	for _, frame := range [][]byte{nil, []byte("join:MEMORY"), {0xff, 0xff, 0xff}} {
		if err := r.net.Node(knIP).Send(r.address(dpmIP, messages.DPMControl), frame); err != nil {
			t.Fatal(err)
		}
	}
	r.ask(&messages.NodeBye{})           // not for a DPM
	r.ask(&messages.MetaRead{Name: "x"}) // nobody to answer to
	r.ask(&messages.PoolQuery{ResponseAddress: "tcp://nowhere:1"})
	s := one[*messages.StatusReport](t, r.ask(&messages.StatusQuery{ResponseAddress: r.back(), RequestId: "s"}))
	if s.GetRole() != "dpm" || s.GetCounters()["control_malformed"] != 3 || s.GetCounters()["control_ignored"] != 2 || len(r.host.Panics) != 0 {
		t.Errorf("%v, panics %v", s, r.host.Panics)
	}
}
