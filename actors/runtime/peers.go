package runtime

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// PeersOptions configures a Peers; the zero value of a field means its default.
//
// The queues of all peers together hold at most
//
//	2 x QueueBytes
//
// (their buffers up to twice that, plus a small chunk for each peer): half of it is shared out
// so that each of MaxPeers peers always has its part, the other half goes to whoever needs it.
type PeersOptions struct {
	// MaxPeers is how many addresses are remembered (default 1024). When it is reached, a peer
	// that cannot be reached makes way for a new one, then one that was unused for a while and has
	// nothing queued, then the one that waits for its first connection the longest; if there is
	// none, Get returns ErrTooManyPeers.
	MaxPeers int
	// QueueBytes is what all queues share beyond their guaranteed parts, and the sum of those
	// parts (default 64 MiB).
	QueueBytes int
	// IdleAfter closes the connection of a peer that nothing was sent to for so long
	// (default 5 min).
	IdleAfter time.Duration
	// UnreachableAfter drops a peer, with its queue, when it has been without a connection for
	// so long (default 30 s). Control actors that wait for slow starters want more. A peer that was
	// sent to a moment ago gets as long again: it may have come back, and what was just queued
	// for it has had no attempt to connect yet.
	UnreachableAfter time.Duration
	// Push is the template of the connections. Its QueueBytes (default 16 MiB here) limits
	// one peer; Overflow is Refuse, whatever it says.
	Push PushOptions
}

// EnsureDefaults fills the fields that are zero.
func (o *PeersOptions) EnsureDefaults() {
	setDefault(&o.MaxPeers, 1024)
	setDefault(&o.QueueBytes, 64<<20)
	setDefault(&o.IdleAfter, 5*time.Minute)
	setDefault(&o.UnreachableAfter, 30*time.Second)
	setDefault(&o.Push.QueueBytes, 16<<20)
	o.Push.EnsureDefaults()
	o.Push.Overflow = Refuse
}

// PeersMetrics counts what a Peers did; the first three are current.
type PeersMetrics struct {
	Peers              int
	PeersConnected     int
	QueuedBytes        int
	AddressesRefused   int64 // ErrBadAddress and ErrTooManyPeers
	FramesRefused      int64 // ErrQueueFull
	FramesDropped      int64 // queued for a peer that was evicted
	EvictedIdle        int64
	EvictedUnreachable int64
}

// Peers is a bounded cache of one Push per address. It is meant for one owner, say a thread
// that answers requests at whatever address they name, but all methods may be called from any
// goroutine, none blocks on the network, and the mutexes are uncontended for one owner.
type Peers struct {
	options PeersOptions
	share   *queueShare
	closing sync.WaitGroup // evicted Pushes on their way out

	mu struct {
		sync.Mutex
		peers   map[string]*peer
		logs    map[string]*quietLog // of peers that were evicted while they could not be reached: their trouble is known
		added   uint64
		hurried int // peers that had to go before they were connected, since the last Sweep
		closed  bool
		metrics PeersMetrics
	}
	dirty struct { // who has something to flush; held alone
		sync.Mutex
		list  []*Push
		spare []*Push
	}
}

// peer is a Push with what Sweep needs to know about it.
type peer struct {
	push      *Push
	number    uint64    // in the order in which they were added
	used      bool      // since the last Sweep
	usedAt    time.Time // of the last Sweep that found it used
	idleSince time.Time // zero: in use
	downSince time.Time // zero: connected
}

// NewPeers returns an empty cache.
func NewPeers(o PeersOptions) *Peers {
	o.EnsureDefaults()
	p := &Peers{options: o, share: &queueShare{guaranteed: o.QueueBytes / o.MaxPeers}}
	p.share.common.Store(int64(o.QueueBytes))
	p.mu.peers, p.mu.logs = make(map[string]*peer), make(map[string]*quietLog)
	p.options.Push.private.share = p.share
	p.options.Push.private.dirty = p.markDirty
	return p
}

func (p *Peers) markDirty(push *Push) {
	p.dirty.Lock()
	p.dirty.list = append(p.dirty.list, push)
	p.dirty.Unlock()
}

// Get returns the Push for address, connecting in the background if it is new. Errors:
// ErrBadAddress, ErrTooManyPeers, ErrClosed. The Push may be closed by a later Sweep or Get:
// call Get again for each use rather than keeping it. address may alias a received frame.
func (p *Peers) Get(address string) (*Push, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.mu.peers[address]; ok {
		e.used = true
		return e.push, nil
	}
	return p.add(address)
}

// GetBytes is Get for an address that is still part of a frame.
func (p *Peers) GetBytes(address []byte) (*Push, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.mu.peers[string(address)]; ok { // which allocates nothing
		e.used = true
		return e.push, nil
	}
	return p.add(string(address))
}

// add is the rare part of Get. REQUIRES: p.mu.
func (p *Peers) add(address string) (*Push, error) {
	if p.mu.closed {
		return nil, fmt.Errorf("peer %s: %w", address, ErrClosed)
	}
	if _, err := ParseAddress(address); err != nil {
		p.mu.metrics.AddressesRefused++
		return nil, err
	}
	if len(p.mu.peers) >= p.options.MaxPeers && !p.makeWay() {
		p.mu.metrics.AddressesRefused++
		return nil, fmt.Errorf("peer %s: %w: %d, all in use", address, ErrTooManyPeers, len(p.mu.peers))
	}
	address = strings.Clone(address) // the caller's may live in a buffer that is reused
	o := p.options.Push
	o.private.log = p.mu.logs[address]
	delete(p.mu.logs, address)
	p.mu.added++
	e := &peer{push: NewPush(address, o), number: p.mu.added, used: true}
	p.mu.peers[address] = e
	return e.push, nil
}

// makeWay evicts the peer that is missed the least: the one that was down the longest; or had nothing to do for the longest, a
// Sweep apart at least; or waits for its first connection the longest, so that a flood of addresses where nobody
// listens pushes out itself, MaxPeers of them from one Sweep to the next; or, if all are connected, had nothing to do
// since the last Sweep. REQUIRES: p.mu.
func (p *Peers) makeWay() bool {
	var down, idle, connecting, unused *peer
	for _, e := range p.mu.peers {
		connected, queued := e.push.state()
		switch {
		case !connected && !e.downSince.IsZero():
			if down == nil || e.before(down, e.downSince, down.downSince) {
				down = e
			}
		case !connected:
			if connecting == nil || e.number < connecting.number {
				connecting = e
			}
		case e.used || queued > 0:
		case !e.idleSince.IsZero():
			if idle == nil || e.before(idle, e.idleSince, idle.idleSince) {
				idle = e
			}
		default:
			if unused == nil || e.number < unused.number {
				unused = e
			}
		}
	}
	switch {
	case down != nil:
		p.mu.metrics.EvictedUnreachable++
		p.evict(down)
	case idle != nil:
		p.mu.metrics.EvictedIdle++
		p.evict(idle)
	case connecting != nil && p.mu.hurried < p.options.MaxPeers:
		p.mu.hurried++
		p.mu.metrics.EvictedUnreachable++
		p.evict(connecting)
	case connecting != nil:
		return false
	case unused != nil:
		p.mu.metrics.EvictedIdle++
		p.evict(unused)
	default:
		return false
	}
	return true
}

// before orders peers by a time and, for equal times, by address: map order must not show.
func (e *peer) before(o *peer, mine, others time.Time) bool {
	if !mine.Equal(others) {
		return mine.Before(others)
	}
	return e.push.address < o.push.address
}

// evict forgets a peer and closes its Push in the background. REQUIRES: p.mu.
func (p *Peers) evict(e *peer) {
	delete(p.mu.peers, e.push.address)
	if !e.downSince.IsZero() {
		if len(p.mu.logs) >= p.options.MaxPeers {
			clear(p.mu.logs)
		}
		p.mu.logs[e.push.address] = e.push.log
	}
	p.closing.Add(1)
	p.background(func() {
		defer p.closing.Done()
		dropped := e.push.Close(0)
		m := e.push.Metrics()
		p.mu.Lock()
		p.mu.metrics.FramesDropped += int64(dropped)
		p.mu.metrics.FramesRefused += m.FramesRefused
		p.mu.Unlock()
	})
}

// FlushDirty flushes every Push that was appended to since the last call; call it at the end
// of each handled batch.
func (p *Peers) FlushDirty() {
	p.dirty.Lock()
	list := p.dirty.list
	p.dirty.list, p.dirty.spare = p.dirty.spare[:0], nil
	p.dirty.Unlock()
	for i, push := range list {
		push.flushListed()
		list[i] = nil
	}
	p.dirty.Lock()
	p.dirty.spare = list[:0]
	p.dirty.Unlock()
}

// Sweep evicts peers that are idle or unreachable for too long; call it every second or so
// with the current time.
func (p *Peers) Sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.hurried = 0
	var over []*peer // evicted in an order that is not the map's
	for _, e := range p.mu.peers {
		connected, queued := e.push.state()
		if e.used {
			e.usedAt = now
		}
		if e.used || queued > 0 {
			e.used, e.idleSince = false, time.Time{}
		} else if e.idleSince.IsZero() {
			e.idleSince = now
		}
		if connected {
			e.downSince = time.Time{}
		} else if e.downSince.IsZero() {
			e.downSince = now
		}
		switch {
		case p.unreachable(e, now):
			p.mu.metrics.EvictedUnreachable++
			over = append(over, e)
		case !e.idleSince.IsZero() && now.Sub(e.idleSince) >= p.options.IdleAfter:
			p.mu.metrics.EvictedIdle++
			over = append(over, e)
		}
	}
	slices.SortFunc(over, func(a, b *peer) int { return strings.Compare(a.push.address, b.push.address) })
	for _, e := range over {
		p.evict(e)
	}
}

// unreachable says whether a peer has been down for too long. REQUIRES: p.mu.
func (p *Peers) unreachable(e *peer, now time.Time) bool {
	if e.downSince.IsZero() {
		return false
	}
	patience := p.options.UnreachableAfter
	if now.Sub(e.usedAt) < 3*p.options.Push.DialBackoffMax { // an attempt to connect is still to come, or under way
		patience *= 2
	}
	return now.Sub(e.downSince) >= patience
}

// Metrics may be called from any goroutine; it looks at every peer.
func (p *Peers) Metrics() PeersMetrics {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.mu.metrics
	m.Peers = len(p.mu.peers)
	for _, e := range p.mu.peers {
		pm := e.push.Metrics()
		m.QueuedBytes += pm.QueuedBytes
		m.FramesRefused += pm.FramesRefused
		if pm.Connected {
			m.PeersConnected++
		}
	}
	return m
}

// Close closes all peers, giving what is queued up to linger to be written (those that were
// just dialled are worth waiting for too), and waits for their goroutines.
func (p *Peers) Close(linger time.Duration) {
	p.mu.Lock()
	p.mu.closed = true
	var all []*Push
	for address, e := range p.mu.peers {
		all = append(all, e.push)
		delete(p.mu.peers, address)
	}
	p.mu.Unlock()
	closing := func(push *Push) {
		dropped := push.Close(linger)
		p.mu.Lock()
		p.mu.metrics.FramesDropped += int64(dropped)
		p.mu.Unlock()
	}
	if p.options.Push.private.sim != nil {
		slices.SortFunc(all, func(a, b *Push) int { return strings.Compare(a.address, b.address) })
		for _, push := range all {
			closing(push)
		}
		return
	}
	for _, push := range all {
		p.closing.Go(func() { closing(push) })
	}
	p.closing.Wait()
}
