package sim

import (
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// straggler is the rest of a batch whose dialler has given up, still to be executed: a request in a
// socket's buffer, a packet in a switch.
type straggler struct {
	qp    *QP
	verbs []fabric.Verb
}

// advance executes one verb of one straggler with probability p, and reports whether there was any
// straggler.
func (n *Network) advance(p float64) bool {
	n.mu.Lock()
	n.mu.stragglers = slices.DeleteFunc(n.mu.stragglers, func(s *straggler) bool { return s.qp.revoked })
	if len(n.mu.stragglers) == 0 {
		n.mu.Unlock()
		return false
	}
	if p < 1 && !n.chance(p) {
		n.mu.Unlock()
		return true
	}
	i := n.mu.rand.IntN(len(n.mu.stragglers))
	s := n.mu.stragglers[i]
	v, region := s.verbs[0], s.qp.listener.region
	switch v.Kind {
	case fabric.Write:
		region.Write(v.Address, v.Buffer)
	case fabric.CAS:
		n.swap(region, &v)
	case fabric.FetchAdd:
		region.Add64(v.Address, v.Swap)
	case fabric.Flush:
		region.Flush(v.Address, v.Length)
		_ = region.Fence() // nobody waits for the answer
	}
	s.verbs = s.verbs[1:]
	over := len(s.verbs) == 0
	if over {
		n.mu.stragglers = slices.Delete(n.mu.stragglers, i, i+1)
	}
	n.mu.Unlock()
	if over {
		s.qp.listener.forget(s.qp)
	}
	return true
}

// swap executes a CAS.
func (n *Network) swap(region pmem.Region, v *fabric.Verb) (before uint64) {
	before, swapped := region.CompareAndSwap64(v.Address, v.Expect, v.Swap)
	if swapped {
		n.swapped(v.Address)
	}
	return before
}

// late reports whether something of q is still to be executed. REQUIRES: mu held.
func (n *Network) late(q *QP) bool {
	return slices.ContainsFunc(n.mu.stragglers, func(s *straggler) bool { return s.qp == q && !q.revoked })
}
