package kn

import (
	"context"
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// rig is a pool and KNs in one process, on loopback addresses of the test's own, with the test as the M-node.
type rig struct {
	t       testing.TB
	backend string
	pool    *dpm.Pool
	options dpm.Options
	address string // of the pool's verbs
	network int
	nodes   []*Node
	epoch   hashring.Epoch
	logs    bool // show what nodes log
}

// networks gives every test addresses that no other test of the process uses: 127.77.n.x.
var networks atomic.Int64

func newRig(t testing.TB, backend string) *rig {
	t.Helper()
	r := &rig{t: t, backend: backend, network: int(networks.Add(1)), logs: true, address: "127.0.0.1:0", options: dpm.Options{
		Path: filepath.Join(t.TempDir(), "pool"), Shape: format.Shape{SegmentBytes: 256 << 10, Segments: 256, FilterBytes: 4096},
		Sparse: true, LeaseLength: 2 * time.Second,
	}}
	r.serve()
	return r
}

// serve opens the pool and listens, again at the same address if it did before.
func (r *rig) serve() {
	r.t.Helper()
	pool, err := dpm.Open(r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool = pool
	r.t.Cleanup(func() { _ = pool.Close() })
	var l fabric.Listener
	if r.backend == "shm" {
		l, err = shm.Listen(pool.Region(), pool.Service(true), fabric.ListenOptions{Address: r.address, Path: pool.Path()})
	} else {
		l, err = tcp.Listen(pool.Region(), pool.Service(false), fabric.ListenOptions{Address: r.address})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	pool.Listen(l)
	r.address = l.Address()
}

// eventually waits for a condition, for as long as a slow machine may need.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) ip(last int) string { return fmt.Sprintf("127.77.%d.%d", r.network, last) }

// nodeOptions are those of the i-th node.
func (r *rig) nodeOptions(i int) Options {
	o := Options{
		Dialer: tcp.Dialer{}, DPM: r.address, PrivateIP: r.ip(100 + i), Threads: 2, Cache: dac.Options{BudgetBytes: 1 << 20},
		MapPeriod: 20 * time.Millisecond, DialTimeout: time.Second, VerbTimeout: time.Second,
		Logf: r.logf(i),
	}
	if r.backend == "shm" {
		o.Dialer = shm.Dialer{}
	}
	return o
}

// logf logs for a node until the test ends.
func (r *rig) logf(i int) func(string, ...any) {
	var over atomic.Bool
	r.t.Cleanup(func() { over.Store(true) })
	return func(format string, args ...any) {
		if r.logs && !over.Load() {
			r.t.Logf("kn%d: %s", i, fmt.Sprintf(format, args...))
		}
	}
}

func (r *rig) start(o Options) *Node {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n, err := Start(ctx, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
	})
	r.nodes = append(r.nodes, n)
	return n
}

// member is a node as a map has it.
func (n *Node) member() hashring.Member {
	rank, incarnation := n.Rank()
	return hashring.Member{Rank: rank, PublicIP: n.o.PublicIP, PrivateIP: n.o.PrivateIP, Threads: n.o.Threads, Incarnation: incarnation}
}

// spec describes the next map with these nodes.
func (r *rig) spec(nodes ...*Node) hashring.Spec {
	s := hashring.Spec{Epoch: r.epoch + 1, VirtualNodes: 50}
	for _, n := range nodes {
		s.Members = append(s.Members, n.member())
	}
	return s
}

// swap puts a map in force in the pool; the nodes find it there.
func (r *rig) swap(s hashring.Spec) *hashring.Map {
	r.t.Helper()
	m, err := hashring.NewMap(s)
	if err != nil {
		r.t.Fatal(err)
	}
	record, err := ownership.Encode(m, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.pool.MetaCAS(ownership.RecordName, uint64(r.epoch), record); err != nil {
		r.t.Fatal(err)
	}
	r.epoch = s.Epoch
	return m
}

// cluster starts so many nodes with a map of all of them.
func (r *rig) cluster(nodes int) *hashring.Map {
	r.t.Helper()
	for i := range nodes {
		r.start(r.nodeOptions(i))
	}
	return r.swap(r.spec(r.nodes...))
}

// client speaks to KN threads as a bare ZeroMQ peer would.
type client struct {
	t       testing.TB
	pull    *runtime.Pull
	peers   *runtime.Peers
	address string
	codec   *messages.Codec
	serial  int
	waiting []*messages.KeyResponse
}

func (r *rig) client() *client {
	r.t.Helper()
	pull, err := runtime.ListenPull("tcp://"+r.ip(1)+":0", runtime.PullOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	codec, err := messages.NewCodec(messages.Limits{})
	if err != nil {
		r.t.Fatal(err)
	}
	c := &client{t: r.t, pull: pull, peers: runtime.NewPeers(runtime.PeersOptions{}), address: pull.Address(), codec: codec}
	r.t.Cleanup(func() {
		c.peers.Close(0)
		_ = pull.Close()
	})
	return c
}

// send pushes a request to an address and returns its id.
func (c *client) send(to string, request *messages.KeyRequest) string {
	c.t.Helper()
	c.serial++
	request.ResponseAddress, request.RequestId = c.address, fmt.Sprint("r", c.serial)
	c.raw(to, messages.AppendKeyRequest(nil, request))
	return request.RequestId
}

func (c *client) raw(to string, frame []byte) {
	c.t.Helper()
	push, err := c.peers.Get(to)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := push.Send(frame); err != nil {
		c.t.Fatal(err)
	}
}

// receive waits for the answer to a request; others are kept.
func (c *client) receive(id string) *messages.KeyResponse {
	c.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for i, w := range c.waiting {
			if w.ResponseId == id {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				return w
			}
		}
		select {
		case b, open := <-c.pull.Batches():
			if !open {
				c.t.Errorf("no answer to %s before the test ended", id)
				goruntime.Goexit()
			}
			for _, frame := range b.Frames {
				var w messages.KeyResponse
				if err := w.UnmarshalVT(frame); err != nil {
					c.t.Fatal(err)
				}
				c.waiting = append(c.waiting, &w)
			}
			b.Release()
		case <-deadline:
			c.t.Fatalf("no answer to %s", id)
		}
	}
}

// nothing fails if an answer to id comes within d. It can only miss one, never invent one.
func (c *client) nothing(id string, d time.Duration) {
	c.t.Helper()
	select {
	case b := <-c.pull.Batches():
		defer b.Release()
		for _, frame := range b.Frames {
			var w messages.KeyResponse
			if w.UnmarshalVT(frame) == nil && w.ResponseId == id {
				c.t.Fatalf("%s was answered: %s", id, messages.Text(&w))
			}
		}
	case <-time.After(d):
	}
}

func (c *client) ask(to string, request *messages.KeyRequest) *messages.KeyResponse {
	c.t.Helper()
	return c.receive(c.send(to, request))
}

func tuples(keys ...string) []*messages.KeyTuple {
	var all []*messages.KeyTuple
	for _, k := range keys {
		all = append(all, &messages.KeyTuple{Key: k})
	}
	return all
}

func get(keys ...string) *messages.KeyRequest {
	return &messages.KeyRequest{Type: messages.RequestType_GET, Tuples: tuples(keys...)}
}

func remove(keys ...string) *messages.KeyRequest {
	return &messages.KeyRequest{Type: messages.RequestType_DELETE, Tuples: tuples(keys...)}
}

// put puts pairs of key and LWW value.
func put(pairs ...string) *messages.KeyRequest {
	r := &messages.KeyRequest{Type: messages.RequestType_PUT}
	for i := 0; i < len(pairs); i += 2 {
		r.Tuples = append(r.Tuples, &messages.KeyTuple{
			Key: pairs[i], LatticeType: messages.LatticeType_LWW, Payload: lattice.LWWValue{Value: []byte(pairs[i+1])}.Append([]byte{}),
		})
	}
	return r
}

// show is a tuple's outcome as tests compare it.
func show(t *messages.KeyTuple) string {
	switch {
	case t.Error != messages.AnnaError_NO_ERROR:
		return t.Error.String()
	case t.LatticeType == messages.LatticeType_LWW && t.Payload != nil:
		v, err := lattice.ParseLWW(t.Payload, lattice.Options{})
		if err != nil {
			return err.Error()
		}
		return "=" + string(v.Value)
	default:
		return "ok"
	}
}

// owner is the request address of the thread that a map gives a key to.
func owner(t testing.TB, m *hashring.Map, key string) string {
	t.Helper()
	addresses, err := ownership.NewAddresses(m, messages.PlanDinomo)
	if err != nil {
		t.Fatal(err)
	}
	return addresses.Of([]byte(key), hashring.KeyHash([]byte(key)), nil, nil)[0]
}

// until asks again as long as the answer is not the wanted one: nodes take a moment to find a new map.
func (c *client) until(want, to string, request func() *messages.KeyRequest, shown ...func(*messages.KeyTuple) string) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	shown = append(shown, show)
	for {
		got := shown[0](c.ask(to, request()).Tuples[0])
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s answers %s, want %s", to, got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ready waits until every thread of a map serves.
func (c *client) ready(m *hashring.Map) {
	c.t.Helper()
	for _, member := range m.Members() {
		for thread := range member.Threads {
			key := keysOf(m, member.Rank, thread, 1)[0]
			c.until("ok", owner(c.t, m, key), func() *messages.KeyRequest { return remove(key) })
		}
	}
}

// keysOf returns n keys that a map gives to that thread of a node.
func keysOf(m *hashring.Map, rank hashring.Rank, thread, n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		k := fmt.Sprint("key", i)
		if m.IsOwner(hashring.KeyHash([]byte(k)), rank, thread) {
			keys = append(keys, k)
		}
	}
	return keys
}
