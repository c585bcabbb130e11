package dpmnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/messages"
)

// pool is what the actor needs of a dpm.Pool; tests have a simpler one.
type pool interface {
	PoolID() fabric.PoolID
	ServerEpoch() uint64
	Durability() string
	MetaGet(name string) (blob []byte, version uint64, err error)
	MetaCAS(name string, expect uint64, blob []byte) (version uint64, err error)
	Ranks() []dpm.RankStatus
	Fence(rank fabric.Rank, upTo fabric.Incarnation) error
	// FenceUnchanged fences only if the lease word is still word, and says whether it did.
	FenceUnchanged(rank fabric.Rank, upTo fabric.Incarnation, word uint64) (fenced bool, err error)
	DrainRank(ctx context.Context, rank fabric.Rank, upTo fabric.Incarnation) error
	PointerChange(keys [][]byte, install bool) (done int, err error)
	Figures() map[string]uint64
}

// control is the node's actor.
type control struct {
	o *Options
	surroundings

	chores   map[choreKey]*chore
	drained  map[uint32]uint64 // rank -> incarnation whose log, and all before, is merged for good
	pointers pointers

	counters struct{ malformed, ignored, metaReads, metaSwaps, metaConflicts, fences, drains uint64 }
}

// surroundings are what the actor acts upon.
type surroundings struct {
	ctx   context.Context // ends chores
	pool  pool
	verbs func() map[string]uint64 // figures of the verbs listener
	self  func(body any)           // steps the actor with body
	spawn func(func())             // runs a chore beside the actor
}

func newControl(o *Options, w surroundings) *control {
	return &control{o: o, surroundings: w, chores: map[choreKey]*chore{}, drained: map[uint32]uint64{}, pointers: newPointers(w.pool)}
}

// Step implements runtime.Actor.
func (c *control) Step(_ time.Time, in runtime.Message, out *runtime.Outbox) {
	switch in.Kind {
	case runtime.KindFrame:
		body, err := messages.ParseControlFrame(in.Frame)
		if err != nil {
			c.counters.malformed++
			return
		}
		c.receive(body, out)
	case runtime.KindTold:
		if result, ok := in.Body.(choreResult); ok {
			c.finished(result, out)
		}
	}
}

func (c *control) receive(body messages.Message, out *runtime.Outbox) {
	switch b := body.(type) {
	case *messages.MetaRead:
		c.send(out, b.GetResponseAddress(), c.metaRead(b))
	case *messages.MetaSwap:
		c.send(out, b.GetResponseAddress(), c.metaSwap(b))
	case *messages.PoolQuery:
		c.send(out, b.GetResponseAddress(), c.poolState(b.GetRequestId()))
	case *messages.RankFence:
		c.fence(b, out)
	case *messages.RankDrain:
		c.drain(b, out)
	case *messages.PointersChange:
		c.changePointers(b, out)
	case *messages.StatusQuery:
		c.send(out, b.GetResponseAddress(), c.status(b.GetRequestId()))
	default:
		c.counters.ignored++
	}
}

func (c *control) metaRead(r *messages.MetaRead) *messages.MetaState {
	c.counters.metaReads++
	s := &messages.MetaState{RequestId: r.GetRequestId(), Name: r.GetName()}
	blob, version, err := c.pool.MetaGet(r.GetName())
	switch {
	case errors.Is(err, dpm.ErrNoRecord): // version 0, no value
	case err != nil:
		s.Error = err.Error()
	default:
		s.Version = version
		if version != r.GetKnownVersion() {
			s.Value = blob
		}
	}
	return s
}

func (c *control) metaSwap(r *messages.MetaSwap) *messages.MetaState {
	c.counters.metaSwaps++
	s := &messages.MetaState{RequestId: r.GetRequestId(), Name: r.GetName()}
	version, err := c.pool.MetaCAS(r.GetName(), r.GetExpectedVersion(), r.GetValue())
	switch {
	case err == nil:
		s.Swapped, s.Version, s.Value = true, version, r.GetValue()
	case errors.Is(err, dpm.ErrConflict):
		c.counters.metaConflicts++
		blob, version, err := c.pool.MetaGet(r.GetName())
		if err != nil && !errors.Is(err, dpm.ErrNoRecord) {
			s.Error = err.Error()
		}
		s.Version, s.Value = version, blob
	default:
		s.Error = err.Error()
	}
	return s
}

func (c *control) poolState(id string) *messages.PoolState {
	poolID := c.pool.PoolID()
	s := &messages.PoolState{
		RequestId: id, PoolId: poolID[:], ServerEpoch: c.pool.ServerEpoch(), Durability: c.pool.Durability(),
		Counters: c.figures(), Gauges: map[string]float64{},
	}
	if _, version, err := c.pool.MetaGet(ownership.RecordName); err == nil {
		s.OwnershipVersion = version
	}
	for _, r := range c.pool.Ranks() {
		s.Ranks = append(s.Ranks, c.rankState(r))
	}
	return s
}

// rankState describes a rank's newest incarnation.
func (c *control) rankState(r dpm.RankStatus) *messages.RankState {
	return &messages.RankState{
		Rank: uint32(r.Rank), Incarnation: uint64(r.Incarnation), PrivateIp: r.Identity,
		LeaseWord: r.Lease, LeaseUnchangedMilliseconds: uint64(max(r.LeaseUnchanged.Milliseconds(), 0)),
		Attached: r.QueuePairs > 0, Fenced: r.State == format.RankFenced, ProcessGone: r.ProcessGone,
		Drained:          c.drained[uint32(r.Rank)] >= uint64(r.Incarnation),
		UnmergedSegments: uint64(r.Unmerged), Process: uint64(r.Process),
	}
}

// stateOf describes a rank as of one incarnation: of an earlier one than the rank's holder, that it is fenced.
func (c *control) stateOf(rank uint32, incarnation uint64) (*messages.RankState, bool) {
	for _, r := range c.pool.Ranks() {
		if uint32(r.Rank) != rank {
			continue
		}
		s := c.rankState(r)
		if uint64(r.Incarnation) > incarnation {
			s.Fenced, s.Incarnation = true, incarnation
			s.Drained = c.drained[rank] >= incarnation
		}
		return s, true
	}
	return nil, false
}

func (c *control) figures() map[string]uint64 {
	all := c.pool.Figures()
	for name, value := range c.verbs() {
		all[name] = value
	}
	n := &c.counters
	for name, value := range map[string]uint64{
		"control_malformed": n.malformed, "control_ignored": n.ignored, "control_meta_reads": n.metaReads,
		"control_meta_swaps": n.metaSwaps, "control_meta_conflicts": n.metaConflicts,
		"control_fences": n.fences, "control_drains": n.drains, "control_chores": uint64(len(c.chores)),
	} {
		all[name] = value
	}
	return all
}

func (c *control) status(id string) *messages.StatusReport {
	return &messages.StatusReport{
		RequestId: id, Role: "dpm", Counters: c.figures(),
		Facts: map[string]string{
			"ip": c.o.IP, "pool": fmt.Sprint(c.pool.PoolID()), "path": c.o.Pool.Path, "durability": c.pool.Durability(),
		},
	}
}

// send queues an answer; one without an address is not wanted.
func (c *control) send(out *runtime.Outbox, to string, body messages.Message) {
	if to == "" {
		c.counters.ignored++
		return
	}
	frame, err := messages.ControlFrame(c.o.IP, body)
	if err != nil { // a name that a peer sent, or an error's text, is no UTF-8
		c.o.Logf("answer to %s: %v", to, err)
		return
	}
	out.Send(to, frame)
}
