package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// Faults are probabilities from 0 to 1. The zero value injects none.
type Faults struct {
	Break    float64       // of a batch or call: the queue pair breaks in it
	Timeout  float64       // of a batch or call: its completion does not come in time
	Late     float64       // of a batch that broke or timed out: the rest of it is executed later
	Pieces   float64       // of a READ or WRITE: it takes effect in pieces
	DialLost float64       // of a dial: no answer
	DelayMax time.Duration // of a verb: its delay is below this, evenly
}

// Options of a Network. Rand is required.
type Options struct {
	Rand *rand.Rand
	// Wait suspends the calling actor for d of virtual time, while others run. nil: verbs take no
	// time and nobody runs between them.
	Wait   func(d time.Duration)
	Faults Faults
	// Mapped has diallers map the pool's memory, as with shm; see the package comment.
	Mapped bool
	// Swapped is told of each CAS that succeeded, by its address. Nil: nobody is.
	Swapped func(address uint64)
}

// Network connects dialers and listeners of one process; it implements fabric.Dialer. Its methods
// may be called from any goroutine, but only one goroutine at a time gives the same run again.
type Network struct {
	wait    func(d time.Duration)
	mapped  bool
	swapped func(address uint64)

	mu struct {
		sync.Mutex
		idle       sync.Cond // a call has ended
		rand       *rand.Rand
		faults     Faults
		listeners  map[string]*Listener
		cut        map[string]bool
		stragglers []*straggler
		addresses  int
	}
}

// New returns a network without listeners.
func New(o Options) *Network {
	invariant.Check(o.Rand != nil, "sim.New without a source of randomness")
	n := &Network{wait: o.Wait, mapped: o.Mapped, swapped: o.Swapped}
	if n.swapped == nil {
		n.swapped = func(uint64) {}
	}
	n.mu.idle.L = &n.mu.Mutex
	n.mu.rand, n.mu.faults = o.Rand, o.Faults
	n.mu.listeners, n.mu.cut = make(map[string]*Listener), make(map[string]bool)
	return n
}

// SetFaults changes what is injected from now on: none, once a simulation wants its cluster to heal.
func (n *Network) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.faults = f
}

// Cut separates the node of that identity from all listeners, or reconnects it: its verbs do not arrive and time out.
func (n *Network) Cut(identity string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.cut[identity] = cut
}

// Drop breaks all queue pairs of the node of that identity, as its process' death does where the listener learns of it. What was
// under way is executed late, or never.
func (n *Network) Drop(identity string) {
	n.mu.Lock()
	var all []*Listener
	for _, l := range n.mu.listeners {
		all = append(all, l)
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b *Listener) int { return strings.Compare(a.options.Address, b.options.Address) })
	for _, l := range all {
		l.revoke(func(q *QP) bool { return q.options.Hello.Identity == identity })
	}
}

// Listen starts to serve region. An empty address, or one with port 0, picks a free one.
func (n *Network) Listen(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (*Listener, error) {
	o.EnsureDefaults()
	n.mu.Lock()
	defer n.mu.Unlock()
	if o.Address == "" || strings.HasSuffix(o.Address, ":0") {
		n.mu.addresses++
		o.Address = fmt.Sprintf("10.0.0.1:%d", n.mu.addresses)
	}
	if n.mu.listeners[o.Address] != nil {
		return nil, fmt.Errorf("listen for verbs on %q: address already in use", o.Address)
	}
	l := &Listener{network: n, region: region, service: service, options: o}
	l.fenced = make(map[fabric.Rank]fabric.Incarnation)
	n.mu.listeners[o.Address] = l
	return l, nil
}

// Dial implements fabric.Dialer.
func (n *Network) Dial(ctx context.Context, address string, o fabric.DialOptions) (fabric.QP, error) {
	o.EnsureDefaults()
	if len(o.Hello.Identity) > fabric.MaxIdentityBytes {
		return nil, fmt.Errorf("identity of %d bytes, at most %d: %w", len(o.Hello.Identity), fabric.MaxIdentityBytes, fabric.ErrTooLong)
	}
	n.pause()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	l := n.mu.listeners[address]
	lost := n.mu.cut[o.Hello.Identity] || n.chance(n.mu.faults.DialLost)
	n.mu.Unlock()
	switch {
	case lost:
		n.sleep(o.DialTimeout)
		return nil, fmt.Errorf("dial the DPM at %s: %w", address, fabric.ErrTimeout)
	case l == nil:
		return nil, fmt.Errorf("dial the DPM at %s (is it running?): connection refused", address)
	}
	qp, err := l.admit(o)
	if err != nil {
		return nil, fmt.Errorf("dial the DPM at %s: %w", address, err)
	}
	n.pause()
	return qp, nil
}

// Settle executes what is still to be executed late, and returns when nothing of the kind is left.
func (n *Network) Settle() {
	for n.advance(1) {
	}
}

// pause lets others run for the delay of one verb, and something late be executed.
func (n *Network) pause() {
	n.advance(0.25)
	if n.wait == nil {
		return
	}
	n.mu.Lock()
	d := n.delay()
	n.mu.Unlock()
	n.wait(d)
}

func (n *Network) sleep(d time.Duration) {
	if n.wait != nil {
		n.wait(d)
	}
}

// delay draws a verb's. REQUIRES: mu held.
func (n *Network) delay() time.Duration {
	if n.mu.faults.DelayMax <= 0 {
		return 0
	}
	return time.Duration(n.mu.rand.Int64N(int64(n.mu.faults.DelayMax)))
}

// chance draws. REQUIRES: mu held. A probability of 0 draws nothing, so that a run without faults
// does not depend on how many there might have been.
func (n *Network) chance(p float64) bool { return p > 0 && n.mu.rand.Float64() < p }

// A span is a part of a READ or WRITE: bytes [first, next) of its buffer.
type span struct{ first, next int }

// spans cuts length bytes at address into at most four pieces at word boundaries of the pool, in
// the order in which they take effect. REQUIRES: mu held.
func (n *Network) spans(address uint64, length int) []span {
	if length <= 8 || !n.chance(n.mu.faults.Pieces) {
		return []span{{0, length}}
	}
	var all []span
	first := 0
	for len(all) < 3 && first < length {
		next := first + 1 + n.mu.rand.IntN(length-first)
		if next < length { // to the next boundary
			next = min(length, int((address+uint64(next)+7)&^7-address))
		}
		all = append(all, span{first, next})
		first = next
	}
	if first < length {
		all = append(all, span{first, length})
	}
	n.mu.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
