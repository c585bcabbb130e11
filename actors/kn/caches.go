package kn

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// caches are the cache nodes that registered keys. A cache says which keys it holds by writing a StringSet to
// ANNA_METADATA|cache_ip|<its ip>, or nodes tell it each other as the answer to a get of that key, on their cache-ip response
// sockets. Threads push what puts make of these keys to the caches' update sockets.
type caches struct {
	sets    map[string][]string // by cache IP: its keys
	changed bool
}

// Bounds of caches. What is above them is refused and counted.
const (
	maxCaches    = 256
	maxCacheKeys = 1 << 16 // of one cache
)

// cacheKeyPrefix begins the metadata keys of caches, as Anna has it.
const cacheKeyPrefix = "ANNA_METADATA|cache_ip|"

// cacheKey returns the cache's IP when the key is a cache's.
func cacheKey(key string) (ip string, ok bool) {
	ip, ok = strings.CutPrefix(key, cacheKeyPrefix)
	if !ok {
		return "", false
	}
	_, err := messages.ParseIP(ip)
	return ip, err == nil
}

// registered is a client's write of a cache's metadata key.
type registered struct {
	ip      string
	payload []byte
}

// register takes a cache's set of keys, the empty one to forget it; it says whether there was anything wrong with it.
func (s *caches) register(c *control, ip string, payload []byte) bool {
	var set messages.StringSet
	if len(payload) > 0 {
		if _, err := messages.ParseMetadataPayload(payload, &set); err != nil {
			return false
		}
	}
	keys := slices.Compact(slices.Sorted(slices.Values(set.GetKeys())))
	_, known := s.sets[ip]
	if len(keys) > maxCacheKeys || !known && len(s.sets) >= maxCaches {
		return false
	}
	if s.sets == nil {
		s.sets = make(map[string][]string)
	}
	s.changed = true
	if delete(s.sets, ip); len(keys) > 0 {
		s.sets[ip] = keys
	}
	return true
}

// written takes a client's registration and tells the other nodes.
func (s *caches) written(c *control, r registered, out *runtime.Outbox) {
	if !s.register(c, r.ip, r.payload) {
		c.unknown++
		return
	}
	m := c.guard.Map()
	if m == nil {
		return
	}
	frame := messages.AppendKeyResponse(nil, &messages.KeyResponse{Type: messages.RequestType_GET, Tuples: []*messages.KeyTuple{
		{Key: cacheKeyPrefix + r.ip, LatticeType: messages.LatticeType_LWW, Payload: r.payload},
	}})
	for _, member := range m.Members() {
		if member.PrivateIP != c.o.PrivateIP {
			out.Send(c.o.address(member.PrivateIP, messages.KNCacheIPResponse), frame)
		}
	}
}

// response takes the answer to a get of caches' metadata keys.
func (s *caches) response(c *control, frame []byte, _ *runtime.Outbox) {
	answer, err := c.codec.DecodeKeyResponse(frame)
	if err != nil {
		c.unknown++
		return
	}
	defer messages.ReleaseKeyResponse(answer)
	for _, tuple := range answer.Tuples {
		ip, ok := cacheKey(tuple.Key)
		if !ok || tuple.Error != messages.AnnaError_NO_ERROR || lattice.Type(tuple.LatticeType) != lattice.LWW ||
			!s.register(c, strings.Clone(ip), tuple.Payload) {
			c.unknown++
		}
	}
}

// present takes the management node's list of the caches that there are; others are forgotten.
func (s *caches) present(c *control, frame []byte) {
	var set messages.StringSet
	if messages.Unmarshal(frame, &set) != nil {
		c.unknown++
		return
	}
	before := len(s.sets)
	maps.DeleteFunc(s.sets, func(ip string, _ []string) bool { return !slices.Contains(set.GetKeys(), ip) })
	s.changed = s.changed || len(s.sets) != before
}

// tick gives the threads what has changed, all changes of a moment together.
func (s *caches) tick(c *control, _ time.Time, _ *runtime.Outbox) {
	if !s.changed {
		return
	}
	s.changed = false
	keys := watches{}
	values := map[string][]byte{}
	for _, ip := range slices.Sorted(maps.Keys(s.sets)) {
		update := messages.Address{IP: netip.MustParseAddr(ip), Port: c.o.Plan.Base(messages.CacheUpdate)}.String()
		for _, key := range s.sets[ip] {
			keys[key] = append(keys[key], update)
		}
		if payload, err := messages.MetadataPayload(1, &messages.StringSet{Keys: s.sets[ip]}); err == nil {
			values[cacheKeyPrefix+ip] = payload
		}
	}
	c.public.replace(cacheKeyPrefix, values)
	c.order(watch{keys})
}
