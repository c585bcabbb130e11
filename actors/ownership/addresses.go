package ownership

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// Addresses holds, ready made, the request addresses of every thread of a map, so that an answer that
// names a key's owners formats nothing. Immutable and safe for concurrent use.
type Addresses struct {
	m        *hashring.Map
	byThread map[hashring.Owner]string
}

// NewAddresses prepares the addresses of m's members under a port plan. It fails where a member has more
// threads than the plan has ports for.
func NewAddresses(m *hashring.Map, plan messages.Plan) (*Addresses, error) {
	a := &Addresses{m: m, byThread: make(map[hashring.Owner]string)}
	for _, member := range m.Members() {
		for thread := range member.Threads {
			address, err := plan.Address(member.PublicIP, messages.KNRequest, thread)
			if err != nil {
				return nil, fmt.Errorf("address of %s: %w", member, err)
			}
			a.byThread[hashring.Owner{Rank: member.Rank, Thread: thread}] = address.String()
		}
	}
	return a, nil
}

// Map returns the map that the addresses belong to.
func (a *Addresses) Map() *hashring.Map { return a.m }

// Of appends the addresses of the key's owners, the primary owner's first. hash is hashring.KeyHash(key); owners is
// room to work in and may be nil.
func (a *Addresses) Of(key []byte, hash uint64, owners []hashring.Owner, dst []string) []string {
	for _, owner := range a.m.OwnersOfHashed(key, hash, owners[:0]) {
		dst = append(dst, a.byThread[owner])
	}
	return dst
}

// Thread returns the request address of one thread, or "" when the map has no such thread.
func (a *Addresses) Thread(owner hashring.Owner) string { return a.byThread[owner] }
