package clienttest

import (
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Options shapes a Cluster; the zero value is one KN thread on 127.0.0.1 and free ports.
type Options struct {
	Threads int
	IP      string
	// Fixed binds the ports of Plan instead of free ones.
	Fixed bool
	Plan  messages.Plan
}

// Cluster answers clients.
type Cluster struct {
	codec   *messages.Codec
	route   *node
	threads []*node
	wg      sync.WaitGroup

	// Faults, by KN thread.
	mute   []atomic.Bool  // takes requests, does nothing, answers nothing
	deaf   []atomic.Bool  // does what is asked and answers nothing
	refuse []atomic.Int32 // answers with this AnnaError
	twice  atomic.Bool    // every answer comes twice
	silent atomic.Bool    // the routing node answers nothing
	empty  atomic.Bool    // the routing node knows no servers

	requests, tuples, questions atomic.Int64

	mu struct {
		sync.Mutex
		values map[string]value
		owners map[string][]int // threads, where they are not the hash's
		shift  int              // added to the hash's thread
		single [1]int           // what ownersOf returned
	}
}

type value struct {
	kind    lattice.Type
	payload []byte
}

// node is a socket with what answers at it.
type node struct {
	pull  *runtime.Pull
	peers *runtime.Peers
}

// Start starts a cluster. Close it.
func Start(o Options) (*Cluster, error) {
	o.Threads = max(o.Threads, 1)
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	codec, err := messages.NewCodec(messages.Limits{})
	if err != nil {
		return nil, err
	}
	c := &Cluster{codec: codec, mute: make([]atomic.Bool, o.Threads), deaf: make([]atomic.Bool, o.Threads), refuse: make([]atomic.Int32, o.Threads)}
	c.mu.values = make(map[string]value)
	c.mu.owners = make(map[string][]int)
	if c.route, err = listen(o, messages.RouteKeyAddress, 0); err != nil {
		return nil, err
	}
	for t := range o.Threads {
		n, err := listen(o, messages.KNRequest, t)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.threads = append(c.threads, n)
	}
	c.serve(c.route, c.answerAddresses)
	for t, n := range c.threads {
		c.serve(n, func(frame []byte) { c.answerKeys(t, frame) })
	}
	return c, nil
}

func listen(o Options, s messages.Socket, thread int) (*node, error) {
	at := "tcp://" + o.IP + ":0"
	if o.Fixed {
		a, err := o.Plan.Address(o.IP, s, thread)
		if err != nil {
			return nil, err
		}
		at = a.String()
	}
	pull, err := runtime.ListenPull(at, runtime.PullOptions{})
	if err != nil {
		return nil, fmt.Errorf("fake cluster: %w", err)
	}
	return &node{pull, runtime.NewPeers(runtime.PeersOptions{})}, nil
}

// serve answers what arrives at a node, in a goroutine of its own.
func (c *Cluster) serve(n *node, answer func(frame []byte)) {
	c.wg.Go(func() {
		for b := range n.pull.Batches() {
			for _, frame := range b.Frames {
				answer(frame)
			}
			b.Release()
			n.peers.FlushDirty()
		}
	})
}

// Close stops everything.
func (c *Cluster) Close() {
	nodes := append([]*node{c.route}, c.threads...)
	for _, n := range nodes {
		n.pull.Close()
	}
	c.wg.Wait()
	for _, n := range nodes {
		n.peers.Close(0)
	}
}

// Routing returns the key-address endpoint.
func (c *Cluster) Routing() string { return c.route.pull.Address() }

// Thread returns a KN thread's request endpoint.
func (c *Cluster) Thread(i int) string { return c.threads[i].pull.Address() }

// Mute makes a thread take requests and do nothing with them.
func (c *Cluster) Mute(thread int, on bool) { c.mute[thread].Store(on) }

// Deafen makes a thread carry out requests and answer nothing.
func (c *Cluster) Deafen(thread int, on bool) { c.deaf[thread].Store(on) }

// Refuse makes a thread answer everything with an error; NO_ERROR ends it.
func (c *Cluster) Refuse(thread int, code messages.AnnaError) { c.refuse[thread].Store(int32(code)) }

// AnswerTwice makes every answer come twice.
func (c *Cluster) AnswerTwice(on bool) { c.twice.Store(on) }

// SilenceRouting makes the routing node answer nothing.
func (c *Cluster) SilenceRouting(on bool) { c.silent.Store(on) }

// EmptyRouting makes the routing node answer NO_SERVERS.
func (c *Cluster) EmptyRouting(on bool) { c.empty.Store(on) }

// Move gives every key without owners of its own to the thread n places on.
func (c *Cluster) Move(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.shift += n
}

// SetOwners gives a key owners of its own; none takes them away again.
func (c *Cluster) SetOwners(key string, threads ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.owners[key] = threads
	if len(threads) == 0 {
		delete(c.mu.owners, key)
	}
}

// Keys returns how many keys have a value.
func (c *Cluster) Keys() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.values)
}

// Has says whether a key has a value.
func (c *Cluster) Has(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mu.values[key]
	return ok
}

// Load puts an LWW value straight into the map.
func (c *Cluster) Load(key string, bytes []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.values[key] = value{lattice.LWW, lattice.LWWValue{Timestamp: 1, Value: bytes}.Append([]byte{})}
}

// Counts returns how many requests and tuples the threads received, and how many questions the routing node did.
func (c *Cluster) Counts() (requests, tuples, questions int) {
	return int(c.requests.Load()), int(c.tuples.Load()), int(c.questions.Load())
}

// ownersOf returns the threads that own a key; they change with the next call. REQUIRES: c.mu.
func (c *Cluster) ownersOf(key string) []int {
	if own, ok := c.mu.owners[key]; ok {
		return own
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	c.mu.single[0] = (int(h.Sum32()) + c.mu.shift) % len(c.threads)
	return c.mu.single[:]
}

func (c *Cluster) answerAddresses(frame []byte) {
	c.questions.Add(1)
	r, err := c.codec.DecodeKeyAddressRequest(frame)
	if r == nil || c.silent.Load() {
		return
	}
	out := messages.AnswerKeyAddressRequest(r)
	switch {
	case err != nil:
		out = messages.RefuseKeyAddressRequest(r, err)
	case c.empty.Load():
		out = messages.RefuseKeyAddressRequest(r, messages.ErrNoServers)
	default:
		c.mu.Lock()
		for _, key := range r.Keys {
			a := out.AddAddress()
			a.Key = key
			for _, t := range c.ownersOf(key) {
				a.Ips = append(a.Ips, c.Thread(t))
			}
		}
		c.mu.Unlock()
	}
	c.send(c.route, r.ResponseAddress, out)
	messages.ReleaseKeyAddressResponse(out)
	messages.ReleaseKeyAddressRequest(r)
}

func (c *Cluster) send(n *node, to string, m runtime.Encoder) {
	push, err := n.peers.Get(to)
	if err != nil {
		return
	}
	times := 1
	if c.twice.Load() {
		times = 2
	}
	for range times {
		_ = push.Append(m) // a client that is gone does not matter
	}
}

func (c *Cluster) answerKeys(thread int, frame []byte) {
	r, err := c.codec.DecodeKeyRequest(frame)
	if r == nil {
		return
	}
	defer messages.ReleaseKeyRequest(r)
	c.requests.Add(1)
	c.tuples.Add(int64(len(r.Tuples)))
	if c.mute[thread].Load() {
		return
	}
	var out *messages.KeyResponse
	code := messages.AnnaError(c.refuse[thread].Load())
	switch {
	case err != nil:
		out = messages.RefuseKeyRequest(r, err)
	case code != messages.AnnaError_NO_ERROR:
		out = messages.RefuseKeyRequest(r, messages.ErrorOf(code))
	default:
		out = messages.AnswerKeyRequest(r)
		c.mu.Lock()
		for _, t := range r.Tuples {
			c.do(thread, r.Type, t, out.AddTuple())
		}
		c.mu.Unlock()
	}
	if !c.deaf[thread].Load() {
		c.send(c.threads[thread], r.ResponseAddress, out)
	}
	messages.ReleaseKeyResponse(out)
}

// do carries out one tuple. REQUIRES: c.mu.
func (c *Cluster) do(thread int, kind messages.RequestType, t, out *messages.KeyTuple) {
	out.Key, out.LatticeType, out.Error = t.Key, t.LatticeType, t.Error
	if t.Error != messages.AnnaError_NO_ERROR {
		return
	}
	owners := c.ownersOf(t.Key)
	mine := false
	for _, o := range owners {
		mine = mine || o == thread
	}
	if !mine {
		out.Error, out.Invalidate = messages.AnnaError_WRONG_THREAD, true
		for _, o := range owners {
			out.Ips = append(out.Ips, c.Thread(o))
		}
		return
	}
	out.Invalidate = t.AddressCacheSize > 0 && int(t.AddressCacheSize) != len(owners)
	have, ok := c.mu.values[t.Key]
	switch {
	case kind.IsPut():
		out.Error = messages.CodeOf(c.merge(t, have))
	case kind.IsDelete(): // whether or not there is one, as a KN does
		delete(c.mu.values, t.Key)
	case !ok:
		out.Error = messages.AnnaError_KEY_DNE
	default:
		out.LatticeType, out.Payload = messages.LatticeType(have.kind), have.payload
	}
}

// merge carries out a put. REQUIRES: c.mu.
func (c *Cluster) merge(t *messages.KeyTuple, have value) error {
	kind := lattice.Type(t.LatticeType)
	if have.payload != nil && have.kind != kind {
		return messages.ErrLattice
	}
	merged, _, err := lattice.Merge(kind, have.payload, t.Payload, lattice.Options{})
	if err != nil {
		return fmt.Errorf("%w: %w", messages.ErrInvalidRequest, err)
	}
	// The payload aliases the frame, and so does the key.
	c.mu.values[string([]byte(t.Key))] = value{kind, append([]byte{}, merged...)}
	return nil
}
