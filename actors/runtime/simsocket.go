package runtime

import (
	"bytes"

	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// ListenPull implements System: a Pull whose frames come from the simulated network, each in a batch of its own.
func (s *SimNode) ListenPull(address string, o PullOptions) (*Pull, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Pull{options: o, batches: o.Into, log: newQuietLog(o.Logf, o.Clock)}
	if p.batches == nil {
		p.batches = make(chan *Batch, simQueueBatches)
	}
	bound, err := s.Listen(address, func(frame []byte) {
		if len(frame) > o.MaxFrameBytes {
			p.counters.oversized.Add(1)
			return
		}
		b := &Batch{Frames: [][]byte{bytes.Clone(frame)}, Socket: o.Name, simulated: true}
		select {
		case p.batches <- b:
			p.counters.batches.Add(1)
			p.counters.frames.Add(1)
		default:
			s.net.metrics.FramesLost++
		}
	})
	if err != nil {
		return nil, err
	}
	p.sim = &simPull{node: s, address: bound}
	return p, nil
}

// simQueueBatches is what a simulated Pull has room for. Real ones slow their peers down; there is nobody to be slowed
// down here, so there must be room for what a whole simulation has under way.
const simQueueBatches = 1 << 14

// simPull is where a simulated Pull is bound.
type simPull struct {
	node    *SimNode
	address string
	closed  bool
}

func (p *simPull) shut() (first bool) {
	first = !p.closed
	if first && !p.node.down {
		p.node.unbindAddress(p.address)
	}
	p.closed = true
	return first
}

// releaseSimulated is Release of a simulated batch.
func (b *Batch) releaseSimulated() {
	for _, frame := range b.Frames {
		invariant.Mangle(frame)
	}
	b.Frames, b.simulated = nil, false
}

// NewPeers implements System.
func (s *SimNode) NewPeers(o PeersOptions) *Peers {
	o.Push.private.sim = s
	return NewPeers(o)
}

// simConn is the connection of a simulated Push: there as long as the address stays bound.
type simConn struct {
	up         bool
	generation int // of the bound address
	losses     int64
}

// look finds out whether the connection stands.
func (c *simConn) look(s *SimNode, address, ip string) {
	n := s.net
	if c.up && (n.sockets[address] == nil || n.generations[address] != c.generation) {
		c.up = false
		c.losses++
	}
	if !c.up && !s.down && n.sockets[address] != nil && !n.cut[[2]string{s.ip, ip}] && !n.cut[[2]string{ip, s.ip}] {
		c.up, c.generation = true, n.generations[address]
	}
}

// simFlush hands the queue to the simulated network.
func (p *Push) simFlush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	node := p.options.private.sim
	for {
		b := p.mu.queue.next()
		if b == nil {
			return
		}
		for left := b; len(left) > 0; {
			h, err := parseFrameHeader(left, len(left))
			invariant.Check(err == nil && h.headerBytes > 0, "runtime: a Push's queue holds no frame: %v", err)
			_ = node.Send(p.address, left[h.headerBytes:h.total()]) // what is lost is lost
			left = left[h.total():]
		}
		p.mu.queue.wrote(len(b))
	}
}

// simLook returns whether a simulated Push is connected, and how often it was not any more. REQUIRES: p.mu.
func (p *Push) simLook() (up bool, losses int64) {
	p.mu.sim.look(p.options.private.sim, p.address, p.endpoint.Addr().String())
	return p.mu.sim.up, p.mu.sim.losses
}

// background runs f, which must not be waited for with a mutex held, beside the caller.
func (p *Peers) background(f func()) {
	if s := p.options.Push.private.sim; s != nil {
		s.net.After(0, f)
		return
	}
	go f()
}
