package sim_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/conformance"
	"github.com/dinomo-kv/dinomo/dpm/fabric/sim"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestConformance(t *testing.T) {
	network := sim.New(sim.Options{Rand: random.New(random.Seed(t)), Faults: sim.Faults{Pieces: 0.5}})
	conformance.Run(t, conformance.Backend{
		Listen: func(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (fabric.Listener, error) {
			return network.Listen(region, service, o)
		},
		Dialer:    network,
		Allocates: true,
		Single:    true,
	})
}

func TestMappedConformance(t *testing.T) {
	network := sim.New(sim.Options{Rand: random.New(random.Seed(t)), Mapped: true})
	conformance.Run(t, conformance.Backend{
		Listen: func(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (fabric.Listener, error) {
			return network.Listen(region, service, o)
		},
		Dialer:    network,
		Allocates: true,
		Single:    true,
	})
}

// TestMappedFence: what a fenced rank's process stores through its mapping arrives, until it notices; calls do not.
func TestMappedFence(t *testing.T) {
	region, err := pmem.NewVolatile(bytesOfPool)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	network := sim.New(sim.Options{Rand: random.New(random.Seed(t)), Mapped: true})
	l, err := network.Listen(region, &host{}, fabric.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for i := range 100 {
		rank := fabric.Rank(i + 1)
		qp, err := network.Dial(context.Background(), l.Address(), fabric.DialOptions{Hello: fabric.Hello{Rank: rank, Incarnation: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Fence(rank, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := qp.Call([]byte{1}, nil); !errors.Is(err, fabric.ErrBroken) {
			t.Errorf("call of a fenced rank: %v", err)
		}
		before := region.Load64(counterAt)
		_ = qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}})
		if region.Load64(counterAt) != before {
			t.Error("a verb after the queue pair was found broken")
		}
		qp, err = network.Dial(context.Background(), l.Address(), fabric.DialOptions{Hello: fabric.Hello{Rank: rank, Incarnation: 2}})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Fence(rank, 2); err != nil {
			t.Fatal(err)
		}
		_ = qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}})
		stored += int(region.Load64(counterAt) - before)
	}
	if stored == 0 || stored == 100 {
		t.Errorf("of 100 fenced ranks %d could store", stored)
	}
}

// TestMappedLife: a batch that ends after another DPM has the pool fails, whatever the dialler noticed of its connection: what it
// stored may have come too late for recovery.
func TestMappedLife(t *testing.T) {
	region, err := pmem.NewVolatile(bytesOfPool)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	network := sim.New(sim.Options{Rand: random.New(random.Seed(t)), Mapped: true})
	stored := 0
	for i := range 100 {
		l, err := network.Listen(region, &host{life: fabric.Life{Offset: lifeAt, Word: uint64(i)}}, fabric.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		region.Store64(lifeAt, uint64(i))
		qp, err := network.Dial(context.Background(), l.Address(), fabric.DialOptions{Hello: fabric.Hello{Rank: 1, Incarnation: 1}})
		if err != nil {
			t.Fatal(err)
		}
		before := region.Load64(counterAt)
		add := func() error { return qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}}) }
		if err := add(); err != nil || region.Load64(counterAt) != before+1 {
			t.Fatalf("with its DPM there: %v", err)
		}
		l.Crash()
		region.Store64(lifeAt, uint64(i)+1) // as the next DPM does
		if err := add(); !errors.Is(err, fabric.ErrBroken) {
			t.Fatalf("another DPM has the pool: %v", err)
		}
		stored += int(region.Load64(counterAt) - before - 1)
	}
	if stored == 0 || stored == 100 {
		t.Errorf("of 100 whose DPM was gone %d could store", stored)
	}
}

// world runs actors as coroutines on virtual time, one at a time: the one that is due first.
type world struct {
	now    time.Duration
	actors []*actor
	yield  func(time.Duration) bool // of the running actor
	trace  uint64
}

type actor struct {
	next func() (time.Duration, bool)
	at   time.Duration
	done bool
}

func (w *world) wait(d time.Duration) {
	if w.yield != nil { // outside of actors nobody waits
		w.yield(d)
	}
}

func (w *world) start(run func()) {
	a := &actor{at: w.now}
	a.next, _ = iter.Pull(func(yield func(time.Duration) bool) {
		w.yield = yield
		run()
	})
	w.actors = append(w.actors, a)
}

// run goes on until all actors have ended.
func (w *world) run() {
	yields := make(map[*actor]func(time.Duration) bool)
	for {
		var next *actor
		for _, a := range w.actors {
			if !a.done && (next == nil || a.at < next.at) {
				next = a
			}
		}
		if next == nil {
			w.yield = nil
			return
		}
		w.now = max(w.now, next.at)
		w.yield = yields[next]
		d, more := next.next()
		yields[next] = w.yield
		next.at, next.done = w.now+d, !more
	}
}

// record mixes an outcome into the trace.
func (w *world) record(what string, args ...any) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %v ", w.trace, w.now)
	fmt.Fprintf(h, what, args...)
	w.trace = h.Sum64()
}

// host admits everybody under the rank asked for and answers calls by the length of the request.
type host struct {
	admitted, gone int
	life           fabric.Life
}

func (s *host) Admit(h fabric.Hello) (fabric.Session, error) {
	s.admitted++
	return fabric.Session{Rank: h.Rank, Incarnation: h.Incarnation, Life: s.life}, nil
}
func (*host) Call(_ fabric.Session, _ uint16, request, reply []byte) []byte {
	return append(reply, byte(len(request)))
}
func (s *host) Gone(fabric.Session, uint16) { s.gone++ }

const (
	bytesOfPool = 1 << 16
	counterAt   = 8
	lifeAt      = 16
	blockAt     = 4096
	blockWords  = 40
)

type rig struct {
	*testing.T
	*world
	network  *sim.Network
	listener *sim.Listener
	region   *pmem.File
	service  *host
}

func newRig(t *testing.T, seed uint64, faults sim.Faults) *rig {
	t.Helper()
	region, err := pmem.NewVolatile(bytesOfPool)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, world: &world{}, region: region, service: &host{}}
	r.network = sim.New(sim.Options{Rand: random.New(seed), Wait: r.wait, Faults: faults})
	if r.listener, err = r.network.Listen(region, r.service, fabric.ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = region.Close() })
	return r
}

// dial tries until it is admitted.
func (r *rig) dial(h fabric.Hello) fabric.QP {
	for {
		qp, err := r.network.Dial(context.Background(), r.listener.Address(), fabric.DialOptions{Hello: h, Timeout: time.Second})
		if err == nil {
			return qp
		}
		if !errors.Is(err, fabric.ErrTimeout) {
			r.Fatalf("dial: %v", err)
		}
	}
}

func harsh() sim.Faults {
	return sim.Faults{Break: 0.05, Timeout: 0.03, Late: 0.5, Pieces: 0.7, DialLost: 0.2, DelayMax: 10 * time.Microsecond}
}

// whole says whether a word is one that writers wrote, and not parts of two.
func whole(w uint64) bool { return uint32(w) == ^uint32(w>>32) }

// history runs three nodes that count and write blocks under faults, and returns the trace.
func history(t *testing.T, seed uint64) uint64 {
	r := newRig(t, seed, harsh())
	for w := range blockWords {
		r.region.Store64(blockAt+uint64(w)*8, 0xffffffff00000000)
	}
	granted := map[uint64]int{}
	var sure, unsure uint64
	broken := 0
	for node := range 3 {
		r.start(func() {
			h := fabric.Hello{Rank: fabric.Rank(node + 1), Incarnation: 1, Identity: fmt.Sprint("kn", node)}
			own := rand.New(rand.NewPCG(seed, uint64(node)))
			qp := r.dial(h)
			block := make([]byte, blockWords*8)
			for range 60 {
				kind := fabric.Read
				if own.IntN(2) == 0 {
					kind = fabric.Write
					stamp := own.Uint32()
					for w := range blockWords {
						binary.LittleEndian.PutUint64(block[w*8:], uint64(^stamp)<<32|uint64(stamp))
					}
				}
				verbs := []fabric.Verb{
					{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1},
					{Kind: kind, Address: blockAt, Buffer: block},
				}
				err := qp.Post(verbs)
				r.record("node %d: %v, %d", node, err, verbs[0].Result)
				if err == nil {
					granted[verbs[0].Result]++
					sure++
					for w := range blockWords {
						if got := binary.LittleEndian.Uint64(block[w*8:]); !whole(got) {
							t.Errorf("torn word %#x", got)
						}
					}
					continue
				}
				if !errors.Is(err, fabric.ErrBroken) && !errors.Is(err, fabric.ErrTimeout) {
					t.Errorf("post: %v", err)
				}
				unsure++
				broken++
				_ = qp.Close()
				qp = r.dial(h)
			}
			_ = qp.Close()
		})
	}
	r.run()
	r.network.Settle()
	if got := r.region.Load64(counterAt); got < sure || got > sure+unsure {
		t.Errorf("the counter is %d after %d certain and %d uncertain additions", got, sure, unsure)
	}
	for v, n := range granted {
		if n > 1 {
			t.Errorf("%d was handed out %d times", v, n)
		}
	}
	if broken == 0 {
		t.Error("nothing ever broke")
	}
	if r.service.admitted != r.service.gone {
		t.Errorf("%d admitted, %d gone", r.service.admitted, r.service.gone)
	}
	r.record("the counter is %d", r.region.Load64(counterAt))
	return r.trace
}

// TestReplay: one seed is one history, another seed another one.
func TestReplay(t *testing.T) {
	seed := random.Seed(t)
	seen := map[uint64]bool{}
	for i := range uint64(100) {
		first, again := history(t, seed+i), history(t, seed+i)
		if first != again {
			t.Fatalf("seed %d gives two histories", seed+i)
		}
		if seen[first] {
			t.Fatalf("seed %d gives the history of another one", seed+i)
		}
		seen[first] = true
	}
}

// TestLate: what was given up is executed later, but not after the thread has dialled again, nor
// after Fence, nor after the listener is gone.
func TestLate(t *testing.T) {
	seed := random.Seed(t)
	for name, end := range map[string]func(r *rig){
		"nothing": nil,
		"dial":    func(r *rig) { r.dial(fabric.Hello{Rank: 1, Incarnation: 1}) },
		"fence": func(r *rig) {
			if err := r.listener.Fence(1, 1); err != nil {
				r.Error(err)
			}
		},
		"close": func(r *rig) { _ = r.listener.Close() },
		"crash": func(r *rig) { r.listener.Crash() },
	} {
		t.Run(name, func(t *testing.T) {
			late := 0
			for i := range uint64(100) {
				r := newRig(t, seed+i, sim.Faults{Timeout: 1, Late: 1})
				qp := r.dial(fabric.Hello{Rank: 1, Incarnation: 1})
				verbs := make([]fabric.Verb, 8)
				for j := range verbs {
					verbs[j] = fabric.Verb{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}
				}
				if err := qp.Post(verbs); !errors.Is(err, fabric.ErrTimeout) {
					t.Fatalf("post: %v", err)
				}
				_ = qp.Close()
				if end != nil {
					end(r)
				}
				before := r.region.Load64(counterAt)
				r.network.Settle()
				if r.region.Load64(counterAt) != before {
					late++
				}
			}
			if (late > 0) != (end == nil) {
				t.Errorf("in %d of 100 runs something was executed late", late)
			}
		})
	}
}

// TestBrokenWrite: of a WRITE in which the queue pair breaks a prefix of words is stored.
func TestBrokenWrite(t *testing.T) {
	seed := random.Seed(t)
	lengths := map[int]bool{}
	for i := range uint64(200) {
		r := newRig(t, seed+i, sim.Faults{Break: 1})
		qp := r.dial(fabric.Hello{Rank: 1, Incarnation: 1})
		buffer := make([]byte, 64)
		for j := range buffer {
			buffer[j] = 0xee
		}
		v := []fabric.Verb{{Kind: fabric.Write, Address: 4, Buffer: buffer}}
		if err := qp.Post(v); !errors.Is(err, fabric.ErrBroken) || !errors.Is(v[0].Err, fabric.ErrBroken) {
			t.Fatalf("post: %v", err)
		}
		stored := 0
		for stored < len(buffer) && r.region.View(4, 64)[stored] == 0xee {
			stored++
		}
		for _, b := range r.region.View(4, 64)[stored:] {
			if b != 0 {
				t.Fatalf("stored is not a prefix: % x", r.region.View(4, 64))
			}
		}
		if end := 4 + stored; stored > 0 && stored < len(buffer) && end%8 != 0 {
			t.Fatalf("%d bytes stored: half a word", stored)
		}
		lengths[stored] = true
	}
	if len(lengths) < 5 {
		t.Errorf("only these lengths: %v", lengths)
	}
}

func TestCut(t *testing.T) {
	r := newRig(t, random.Seed(t), sim.Faults{})
	h := fabric.Hello{Rank: 1, Incarnation: 1, Identity: "kn1"}
	qp, other := r.dial(h), r.dial(fabric.Hello{Rank: 2, Incarnation: 1, Identity: "kn2"})
	r.network.Cut("kn1", true)
	if err := qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}}); !errors.Is(err, fabric.ErrTimeout) {
		t.Errorf("post while cut off: %v", err)
	}
	if _, err := r.network.Dial(context.Background(), r.listener.Address(), fabric.DialOptions{Hello: h}); !errors.Is(err, fabric.ErrTimeout) {
		t.Errorf("dial while cut off: %v", err)
	}
	if err := other.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}}); err != nil {
		t.Errorf("post of another node: %v", err)
	}
	r.network.Cut("kn1", false)
	if err := r.dial(h).Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}}); err != nil {
		t.Errorf("post after the cut: %v", err)
	}
	if got := r.region.Load64(counterAt); got != 2 {
		t.Errorf("the counter is %d", got)
	}
	r.listener.Crash()
	if err := other.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: counterAt, Swap: 1}}); !errors.Is(err, fabric.ErrBroken) {
		t.Errorf("post to a dead DPM: %v", err)
	}
	if _, err := r.network.Dial(context.Background(), r.listener.Address(), fabric.DialOptions{Hello: h}); err == nil {
		t.Error("a dead DPM admits")
	}
}
