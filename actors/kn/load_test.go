package kn

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// counter is a key with one writer, who counts up, and any number of readers. A reader that begins after a count was
// acknowledged must see it, or a later one.
type counter struct {
	key                 string
	tried, acknowledged atomic.Int64
	writes, reads       atomic.Int64
}

func total(counters []*counter) (operations int64) {
	for _, x := range counters {
		operations += x.writes.Load() + x.reads.Load()
	}
	return operations
}

// traffic is the load of one goroutine.
type traffic struct {
	*client
	rng     *rand.Rand
	anybody []string          // addresses to ask when nothing is known
	known   map[string]string // key -> an owner's address
}

// once asks for a key wherever it is owned by now.
func (f *traffic) once(key string, request func() *messages.KeyRequest) *messages.KeyTuple {
	for {
		to, ok := f.known[key]
		if !ok {
			to = f.anybody[f.rng.IntN(len(f.anybody))]
		}
		answer := f.ask(to, request()).Tuples[0]
		if answer.Invalidate {
			delete(f.known, key)
		}
		switch answer.Error {
		case messages.AnnaError_WRONG_THREAD:
			if len(answer.Ips) > 0 {
				f.known[key] = answer.Ips[f.rng.IntN(len(answer.Ips))]
			}
		case messages.AnnaError_OVERLOADED:
		default:
			return answer
		}
	}
}

func (c *counter) write(t *testing.T, f *traffic) {
	n := c.tried.Add(1)
	if got := show(f.once(c.key, func() *messages.KeyRequest { return put(c.key, strconv.FormatInt(n, 10)) })); got != "ok" {
		t.Errorf("%s: put: %s", c.key, got)
		return
	}
	c.acknowledged.Store(n)
	c.writes.Add(1)
}

func (c *counter) read(t *testing.T, f *traffic) {
	least := c.acknowledged.Load()
	got := show(f.once(c.key, func() *messages.KeyRequest { return get(c.key) }))
	most := c.tried.Load()
	c.reads.Add(1)
	if got == "KEY_DNE" && least == 0 {
		return
	}
	n, err := strconv.ParseInt(got[1:], 10, 64)
	if err != nil || n < least || n > most {
		t.Errorf("%s: a get between counts %d and %d shows %s", c.key, least, most, got)
	}
}

// TestChangesUnderLoad moves keys among three nodes, and gives some of them several owners and takes them away again, while
// every key is written and read.
func TestChangesUnderLoad(t *testing.T) {
	seed := random.Seed(t)
	changes, load := 30, int64(300)
	if testing.Short() || raceEnabled {
		changes, load = 9, 100
	}
	for _, backend := range []string{"shm", "tcp"} {
		t.Run(backend, func(t *testing.T) {
			r := newRig(t, backend)
			r.logs = false
			for i := range 3 {
				r.start(r.nodeOptions(i))
			}
			m := r.swap(r.spec(r.nodes[0]))
			c := r.client()
			c.ready(m)
			boss := r.peer(r.ip(3), messages.MonitorControl)
			var counters []*counter
			for i := range 24 {
				counters = append(counters, &counter{key: fmt.Sprint("counter", i)})
			}
			var stop atomic.Bool
			var work sync.WaitGroup
			for n := range 6 {
				f := &traffic{client: r.client(), rng: random.New(seed + uint64(n)), known: map[string]string{}}
				for _, node := range r.nodes {
					f.anybody = append(f.anybody, node.o.address(node.o.PrivateIP, messages.KNRequest))
				}
				work.Add(1)
				go func() {
					defer work.Done()
					for !stop.Load() {
						x := counters[f.rng.IntN(len(counters))]
						if n < 2 && f.rng.IntN(2) == 0 { // each key has one writer
							x = counters[f.rng.IntN(len(counters)/2)*2+n]
							x.write(t, f)
						} else {
							x.read(t, f)
						}
					}
				}()
			}
			rng := random.New(seed)
			for i := range changes {
				before := m
				s := before.Spec()
				if i%3 == 2 {
					s.Replicated = map[string]hashring.Replication{}
					for _, x := range counters {
						if rng.IntN(4) == 0 {
							s.Replicated[x.key] = hashring.Replication{Global: 1 + rng.IntN(3), Local: 1 + rng.IntN(2)}
						}
					}
				} else {
					s.Members = nil
					for len(s.Members) == 0 {
						for _, n := range r.nodes {
							if rng.IntN(3) > 0 {
								s.Members = append(s.Members, n.member())
							}
						}
					}
				}
				m = r.change(c, boss, before, s, i)
				enough := total(counters) + load
				r.eventually("there was some load", func() bool { return total(counters) >= enough })
			}
			stop.Store(true)
			work.Wait()
			t.Logf("%d operations through %d changes", total(counters), changes)
		})
	}
}

// change is a coordinator's planned change, without its repetitions: prepare, pointers, swap, commit.
func (r *rig) change(c *client, boss *peer, before *hashring.Map, s hashring.Spec, serial int) *hashring.Map {
	r.t.Helper()
	s.Epoch = before.Epoch() + 1
	next := newMap(r.t, s)
	id := fmt.Sprint("change", serial)
	moves := hashring.Moves(before, next)
	var install, remove [][]byte
	for key := range next.Replicated() {
		if before.Replication([]byte(key)) == hashring.Single {
			install = append(install, []byte(key))
		}
	}
	for key := range before.Replicated() {
		if next.Replication([]byte(key)) == hashring.Single {
			remove = append(remove, []byte(key))
		}
	}
	asked := map[uint32]bool{}
	for _, n := range r.nodes {
		rank, _ := n.Rank()
		if _, member := before.Member(rank); member && !moves.HeldBy(rank).Empty() {
			asked[uint32(rank)] = true
			r.prepare(c, boss, n, next, id)
		}
	}
	for len(asked) > 0 {
		p := control1(boss, "an answer to a prepare", func(m *messages.OwnershipPrepared) bool { return m.GetRequestId() == id })
		if !p.GetOk() {
			r.t.Fatalf("rank %d is not prepared: %s", p.GetRank(), p.GetDetail())
		}
		delete(asked, p.GetRank())
	}
	if _, err := r.pool.PointerChange(install, true); err != nil {
		r.t.Fatalf("install pointers: %v", err)
	}
	r.epoch = before.Epoch()
	m := r.swap(s)
	for _, n := range r.nodes {
		c.tell(n, &messages.OwnershipCommit{Map: ownership.ToWire(m, "test"), ResponseAddress: boss.pull.Address(), RequestId: id})
	}
	acks := map[uint32]bool{}
	for len(acks) < len(r.nodes) {
		a := control1(boss, "an acknowledgement", func(a *messages.OwnershipAck) bool { return a.GetEpoch() == uint64(m.Epoch()) })
		acks[a.GetRank()] = true
	}
	r.eventually("the pointers are gone", func() bool {
		_, err := r.pool.PointerChange(remove, false)
		return err == nil
	})
	return m
}
