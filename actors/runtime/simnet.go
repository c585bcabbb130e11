package runtime

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// SimOptions configures a SimNet; the zero value of a field means its default, and no faults.
type SimOptions struct {
	// DelayMin and DelayMax bound the time a frame takes (default 50 µs, 500 µs), drawn anew
	// for each: frames of different senders overtake one another.
	DelayMin, DelayMax time.Duration
	// LossPerMillion is how many frames in a million vanish, as when a connection dies with
	// frames in the kernel.
	LossPerMillion int
	// RepeatPerMillion is how many requests in a million are carried out twice, as when a
	// connection dies before the reply.
	RepeatPerMillion int
	// QueueFrames bounds what waits from one node for one address (default 10,000).
	QueueFrames int
	// Intercept sees every frame as it is handed over, and keeps it away when it returns false. nil: nobody looks.
	Intercept func(from, to string, frame []byte) (pass bool)
	// MaxRequests bounds the requests of one node in flight (default 256).
	MaxRequests int
}

// EnsureDefaults fills the fields that are zero.
func (o *SimOptions) EnsureDefaults() {
	setDefault(&o.DelayMin, 50*time.Microsecond)
	setDefault(&o.DelayMax, 500*time.Microsecond)
	setDefault(&o.QueueFrames, 10000)
	setDefault(&o.MaxRequests, 256)
	o.DelayMax = max(o.DelayMax, o.DelayMin)
}

// SimMetrics counts what a SimNet did.
type SimMetrics struct {
	Events, FramesSent, FramesDelivered, FramesLost, FramesRefused, Requests, RequestsRepeated int
}

// A SimNet is a network of nodes in one goroutine and on virtual time: the same seed and the
// same calls give the same run. Nothing happens except in Step and what is built on it.
//
// The faults it injects are those that the system must survive, and no others: delay; frames
// of different senders in any order (those of one sender for one address keep theirs); links
// cut in one direction, whose frames wait; loss of single frames; a node that dies with what
// it had not sent and what was on the way to it; requests carried out twice. It never damages
// a frame, never repeats one, and never delivers without its being sent.
type SimNet struct {
	options SimOptions
	clock   *clock.Manual
	rng     *rand.Rand
	events  eventHeap
	nextSeq uint64
	nodes   map[string]*SimNode
	sockets map[string]*simSocket
	links   map[linkID]*simLink
	cut     map[[2]string]bool
	metrics SimMetrics

	drifts      map[string]int64 // by IP, see SetDrift
	generations map[string]int   // how often an address was unbound
	tasks       []*simTask       // in the order of their start
	running     *simTask         // nil while an event runs
	due         []*simTask       // room to work in
	panics      int              // of all actors
}

// SimEpoch is the time at which every simulation begins.
var SimEpoch = time.Unix(1_700_000_000, 0).UTC()

// NewSimNet returns an empty network at SimEpoch.
func NewSimNet(seed uint64, o SimOptions) *SimNet {
	o.EnsureDefaults()
	return &SimNet{
		options: o,
		clock:   clock.NewManual(SimEpoch),
		rng:     random.New(seed),
		nodes:   make(map[string]*SimNode),
		sockets: make(map[string]*simSocket),
		links:   make(map[linkID]*simLink),
		cut:     make(map[[2]string]bool),

		generations: make(map[string]int),
		drifts:      make(map[string]int64),
	}
}

// event is something that happens at a time; seq orders those of one instant.
type event struct {
	at  time.Time
	seq uint64
	run func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }

// Pop implements heap.Interface.
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = event{}
	*h = (*h)[:last]
	return e
}

// Clock is the network's time; Step moves it.
func (n *SimNet) Clock() *clock.Manual { return n.clock }

// Rand is the network's randomness, for tests that want theirs in the same sequence.
func (n *SimNet) Rand() *rand.Rand { return n.rng }

// Panics returns how many Steps of actors have panicked so far.
func (n *SimNet) Panics() int { return n.panics }

// Metrics returns the counters so far.
func (n *SimNet) Metrics() SimMetrics { return n.metrics }

// After runs f when d has passed.
func (n *SimNet) After(d time.Duration, f func()) { n.at(n.clock.Now().Add(max(d, 0)), f) }

func (n *SimNet) at(t time.Time, f func()) {
	n.nextSeq++
	heap.Push(&n.events, event{t, n.nextSeq, f})
}

// Step moves the clock to the next event and runs it; false when there is none.
func (n *SimNet) Step() bool {
	if len(n.events) == 0 {
		return false
	}
	e := heap.Pop(&n.events).(event)
	if d := e.at.Sub(n.clock.Now()); d > 0 {
		n.clock.Advance(d)
	}
	n.metrics.Events++
	e.run()
	n.settle()
	return true
}

// RunFor runs all events of the next d, and leaves the clock at its end.
func (n *SimNet) RunFor(d time.Duration) {
	end := n.clock.Now().Add(d)
	for len(n.events) > 0 && !n.events[0].at.After(end) {
		n.Step()
	}
	if rest := end.Sub(n.clock.Now()); rest > 0 {
		n.clock.Advance(rest)
	}
}

// RunUntil steps until ok returns true; false when limit passed first or nothing is left to
// happen.
func (n *SimNet) RunUntil(limit time.Duration, ok func() bool) bool {
	end := n.clock.Now().Add(limit)
	for !ok() {
		if len(n.events) == 0 || n.events[0].at.After(end) {
			return false
		}
		n.Step()
	}
	return true
}

// SetFaults changes delays and losses from now on.
func (n *SimNet) SetFaults(delayMin, delayMax time.Duration, lossPerMillion int) {
	n.options.DelayMin, n.options.DelayMax, n.options.LossPerMillion = delayMin, max(delayMin, delayMax), lossPerMillion
}

// Cut stops what goes from one node to another (not what comes back) until Heal. Frames wait.
func (n *SimNet) Cut(from, to string) { n.cut[[2]string{from, to}] = true }

// Uncut undoes one Cut.
func (n *SimNet) Uncut(from, to string) {
	delete(n.cut, [2]string{from, to})
	n.wake(func(l *simLink) bool { return l.id.from == from && l.toIP == to })
}

// SetDrift has the clock of the node with that IP gain so many microseconds a second on the network's, lose them when negative, from
// its next start on.
func (n *SimNet) SetDrift(ip string, perMillion int64) { n.drifts[ip] = perMillion }

// CutBoth cuts both directions.
func (n *SimNet) CutBoth(a, b string) { n.Cut(a, b); n.Cut(b, a) }

// Heal undoes all cuts.
func (n *SimNet) Heal() {
	clear(n.cut)
	n.wake(func(*simLink) bool { return true })
}

// wake gives blocked links another try, in an order that does not depend on the map's.
func (n *SimNet) wake(which func(*simLink) bool) {
	for _, l := range n.sortedLinks() {
		if l.blocked && which(l) {
			l.blocked = false
			l.schedule()
		}
	}
}

func (n *SimNet) sortedLinks() []*simLink {
	links := make([]*simLink, 0, len(n.links))
	for _, l := range n.links {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b *simLink) int { return a.id.compare(b.id) })
	return links
}

// linkID names one direction: from a node's IP to an address, or to a node for replies.
type linkID struct{ from, to string }

func (a linkID) compare(b linkID) int {
	if c := strings.Compare(a.from, b.from); c != 0 {
		return c
	}
	return strings.Compare(a.to, b.to)
}

// simLink is a queue in order. At most one event of it is on the heap: its head's.
type simLink struct {
	net     *SimNet
	id      linkID
	toIP    string
	queue   []simItem
	pending bool // the head's event is on the heap
	blocked bool // the head waits for a heal or a bind
	epoch   int  // grows when the queue is dropped, so that old events find out
}

// simItem is a frame (deliver to the socket), a request (serve it) or a reply (run).
type simItem struct {
	ready   time.Time
	payload []byte
	request *simRequest
	run     func()
}

func (n *SimNet) link(from, to, toIP string) *simLink {
	id := linkID{from, to}
	l := n.links[id]
	if l == nil {
		l = &simLink{net: n, id: id, toIP: toIP}
		n.links[id] = l
	}
	return l
}

func (l *simLink) push(it simItem) {
	n := l.net
	delay := n.options.DelayMin + time.Duration(n.rng.Int64N(int64(n.options.DelayMax-n.options.DelayMin)+1))
	it.ready = n.clock.Now().Add(delay)
	l.queue = append(l.queue, it)
	l.schedule()
}

func (l *simLink) schedule() {
	if l.pending || l.blocked || len(l.queue) == 0 {
		return
	}
	l.pending = true
	at, epoch := l.queue[0].ready, l.epoch
	if now := l.net.clock.Now(); at.Before(now) {
		at = now
	}
	l.net.at(at, func() {
		if epoch == l.epoch {
			l.pending = false
			l.arrive()
		}
	})
}

// arrive hands the head over, or leaves it where it is while the link is cut or nobody listens.
func (l *simLink) arrive() {
	n, it := l.net, l.queue[0]
	socket := n.sockets[l.id.to]
	if n.cut[[2]string{l.id.from, l.toIP}] || it.run == nil && socket == nil {
		l.blocked = true
		return
	}
	l.queue[0] = simItem{}
	l.queue = l.queue[1:]
	defer l.schedule()
	switch {
	case it.run != nil:
		it.run()
	case it.request != nil && socket.serve != nil:
		it.request.serve(socket)
	case it.request == nil && n.options.Intercept != nil && !n.options.Intercept(l.id.from, l.id.to, it.payload):
		n.metrics.FramesLost++
	case it.request == nil && socket.deliver != nil:
		n.metrics.FramesDelivered++
		socket.deliver(it.payload)
	default:
		n.metrics.FramesLost++ // a PUSH at a REP or the reverse: the handshake would refuse it
	}
}

// drop forgets the first k items.
func (l *simLink) drop(k int) {
	l.net.metrics.FramesLost += k
	l.queue = append([]simItem(nil), l.queue[k:]...)
	l.epoch++
	l.pending, l.blocked = false, false
	l.schedule()
}

// dropTail forgets all but the first k items.
func (l *simLink) dropTail(k int) {
	l.net.metrics.FramesLost += len(l.queue) - k
	clear(l.queue[k:])
	l.queue = l.queue[:k]
	if k == 0 {
		l.epoch++
		l.pending, l.blocked = false, false
	}
}

// simSocket is a bound address.
type simSocket struct {
	node    *SimNode
	deliver func([]byte)
	serve   func([]byte, func([]byte))
}
