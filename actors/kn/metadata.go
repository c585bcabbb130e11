package kn

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// published holds the values of metadata keys, as clients and Anna's monitor read them: this node's own, those that other nodes gave
// it, and those of caches. The control actor replaces them, threads read them.
type published struct {
	values  atomic.Pointer[map[string][]byte]
	writing sync.Mutex
}

func (p *published) get(key string) []byte {
	if m := p.values.Load(); m != nil {
		return (*m)[key]
	}
	return nil
}

// set replaces the values of some keys; there are three a thread.
func (p *published) set(changes map[string][]byte) {
	p.writing.Lock()
	defer p.writing.Unlock()
	next := make(map[string][]byte)
	if m := p.values.Load(); m != nil {
		maps.Copy(next, *m)
	}
	maps.Copy(next, changes)
	p.values.Store(&next)
}

// keep sets one value, if all together stay within a number of bytes.
func (p *published) keep(key string, value []byte, most int) bool {
	p.writing.Lock()
	defer p.writing.Unlock()
	next := make(map[string][]byte)
	if m := p.values.Load(); m != nil {
		next = maps.Clone(*m)
	}
	next[key] = value
	bytes := 0
	for k, v := range next {
		bytes += len(k) + len(v)
	}
	if bytes > most {
		return false
	}
	p.values.Store(&next)
	return true
}

// drop removes the values whose keys a function accepts.
func (p *published) drop(unwanted func(key string) bool) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if m := p.values.Load(); m != nil {
		next := maps.Clone(*m)
		maps.DeleteFunc(next, func(key string, _ []byte) bool { return unwanted(key) })
		p.values.Store(&next)
	}
}

// replace sets all values whose keys begin with the prefix.
func (p *published) replace(prefix string, values map[string][]byte) {
	p.writing.Lock()
	defer p.writing.Unlock()
	next := maps.Clone(values)
	if m := p.values.Load(); m != nil {
		for k, v := range *m {
			if !strings.HasPrefix(k, prefix) {
				next[k] = v
			}
		}
	}
	p.values.Store(&next)
}

// metadata answers a get of a metadata key: of replication, of a node's statistics, or of a cache's keys.
func (t *thread) metadata(tuple *messages.KeyTuple, s *slot) {
	s.lattice = lattice.LWW
	if _, ok := cacheKey(tuple.Key); ok {
		t.published(tuple.Key, s)
		return
	}
	m, err := messages.ParseMetadataKey(tuple.Key)
	switch {
	case err != nil:
		s.code = messages.AnnaError_INVALID_REQUEST
	case m.Kind == messages.MetadataReplication:
		t.replicationOf(m.Key, s)
	default:
		t.published(tuple.Key, s)
	}
}

// published answers with a value that the control actor has published; KEY_DNE for what nobody gave it.
func (t *thread) published(key string, s *slot) {
	if s.value = t.public.get(key); s.value == nil {
		s.code = messages.AnnaError_KEY_DNE
	}
}

// replicationOf answers for ANNA_METADATA|replication|<key>: KEY_DNE is the default, one owner.
func (t *thread) replicationOf(key string, s *slot) {
	s.code = messages.AnnaError_KEY_DNE
	if t.view.m == nil {
		return
	}
	r := t.view.m.Replication([]byte(key))
	if r == hashring.Single {
		return
	}
	value, err := messages.MetadataPayload(uint64(t.view.m.Epoch()), &messages.ReplicationFactor{
		Key:    key,
		Global: []*messages.ReplicationValue{{Tier: messages.Tier_MEMORY, Value: uint32(r.Global)}},
		Local:  []*messages.ReplicationValue{{Tier: messages.Tier_MEMORY, Value: uint32(r.Local)}},
	})
	if err != nil {
		return // a key that is not UTF-8 cannot be named in this message
	}
	s.code, s.value = messages.AnnaError_NO_ERROR, value
}

// writeMetadata takes a put of a metadata key. That of replication is a wish for the M-nodes; the others are the nodes' own.
func (t *thread) writeMetadata(kind messages.RequestType, tuple *messages.KeyTuple, s *slot) {
	if ip, ok := cacheKey(tuple.Key); ok && (!kind.IsPut() || tuple.LatticeType == messages.LatticeType_LWW) {
		t.tell(registered{ip: strings.Clone(ip), payload: slices.Clone(tuple.Payload)})
		return
	}
	s.code = messages.AnnaError_INVALID_REQUEST
	m, err := messages.ParseMetadataKey(tuple.Key)
	if err != nil || m.Kind != messages.MetadataReplication || tuple.LatticeType != messages.LatticeType_LWW && kind.IsPut() {
		return
	}
	wish := &messages.ReplicationFactor{} // deleting the key asks for the default
	if kind.IsPut() {
		if _, err := messages.ParseMetadataPayload(tuple.Payload, wish); err != nil {
			return
		}
	}
	wish.Key = strings.Clone(m.Key) // it lies in the frame
	s.code = messages.AnnaError_NO_ERROR
	t.tell(wished{factor: wish})
}

// wished is a replication that a client asked for by writing its metadata key.
type wished struct{ factor *messages.ReplicationFactor }
