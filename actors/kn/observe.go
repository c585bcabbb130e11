package kn

import (
	"slices"

	"github.com/dinomo-kv/dinomo/hashring"
)

// Served is a thread that would serve a key if it were asked now.
type Served struct {
	Owner hashring.Owner
	Epoch hashring.Epoch
	// Owners are all that the thread's map has.
	Owners []hashring.Owner
}

// Epoch is that of the newest map that every thread of the node has; as for Serving, nothing may run beside the caller.
func (n *Node) Epoch() hashring.Epoch {
	epoch := hashring.Epoch(0)
	for i, t := range n.threads {
		switch m := t.view.m; {
		case m == nil:
			return 0
		case i == 0 || m.Epoch() < epoch:
			epoch = m.Epoch()
		}
	}
	return epoch
}

// Serving lists the node's threads that would serve a key now (OWN-1). It looks into them, so nothing may run beside the caller:
// it is for simulations, which check that no two nodes serve a key by maps that do not know of each other.
func (n *Node) Serving(key []byte) []Served {
	var all []Served
	hash := hashring.KeyHash(key)
	if !n.lease.heldAt(n.o.Clock.Now()) {
		return nil
	}
	for _, t := range n.threads {
		if t.stopped || !t.view.serves(key, hash, t.self, t.number) || t.holding.has(key, hash) {
			continue
		}
		all = append(all, Served{
			Owner: hashring.Owner{Rank: t.self.rank, Thread: t.number}, Epoch: t.view.m.Epoch(),
			Owners: slices.Clone(t.view.m.OwnersOfHashed(key, hash, nil)),
		})
	}
	return all
}
