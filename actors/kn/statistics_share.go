package kn

import (
	"maps"
	"slices"
	"strings"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// Anna's nodes store their statistics in the store itself, so its monitor asks whoever the ring says owns the metadata key.
// Here they stay out of the pool: each node gives its values, with each regular report, to the node that owns their
// keys, over the gossip socket, and any node answers from what it has been given.

// maxSharedBytes bounds what a node keeps of others' statistics. A thread's three values take a few KiB.
const maxSharedBytes = 16 << 20

// share gives the node's own values to the owners of their keys.
func (s *statistics) share(c *control, values map[string][]byte, out *runtime.Outbox) {
	if s.own == nil {
		s.own = make(map[string][]byte)
	}
	maps.Copy(s.own, values)
	m := c.guard.Map()
	if m == nil {
		return
	}
	puts := map[hashring.Rank]*messages.KeyRequest{}
	for _, key := range slices.Sorted(maps.Keys(s.own)) {
		owner, ok := m.PrimaryOwner(hashring.KeyHash([]byte(key)))
		if !ok || owner.Rank == c.self.rank {
			continue
		}
		put := puts[owner.Rank]
		if put == nil {
			put = &messages.KeyRequest{Type: messages.RequestType_PUT, RequestId: forwarded}
			puts[owner.Rank] = put
		}
		put.Tuples = append(put.Tuples, &messages.KeyTuple{Key: key, LatticeType: messages.LatticeType_LWW, Payload: s.own[key]})
	}
	for _, rank := range slices.Sorted(maps.Keys(puts)) {
		if member, ok := m.Member(rank); ok {
			out.Send(c.o.address(member.PrivateIP, messages.KNGossip), messages.AppendKeyRequest(nil, puts[rank]))
		}
	}
}

// shared takes another node's metadata value; it says whether it is one that may be kept.
func (c *control) shared(m *hashring.Map, tuple *messages.KeyTuple) bool {
	key, err := messages.ParseMetadataKey(tuple.Key)
	if err != nil || key.Kind == messages.MetadataReplication || key.PrivateIP == c.o.PrivateIP || !isThreadOf(m, key) ||
		tuple.Error != messages.AnnaError_NO_ERROR || tuple.LatticeType != messages.LatticeType_LWW {
		return false
	}
	return c.public.keep(strings.Clone(tuple.Key), slices.Clone(tuple.Payload), maxSharedBytes)
}

// isThreadOf says whether a metadata key is of a thread of the map.
func isThreadOf(m *hashring.Map, key messages.MetadataKey) bool {
	return slices.ContainsFunc(m.Members(), func(member hashring.Member) bool {
		return member.PrivateIP == key.PrivateIP && member.PublicIP == key.PublicIP && int(key.Thread) < member.Threads
	})
}

// unshare drops the values of nodes that have left.
func (c *control) unshare(m *hashring.Map) {
	c.public.drop(func(text string) bool {
		key, err := messages.ParseMetadataKey(text)
		return err == nil && key.PrivateIP != c.o.PrivateIP && !isThreadOf(m, key)
	})
}
