package hashring

import (
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Replication says on how many nodes, and on how many threads of each, a key has owners.
type Replication struct {
	// Global is the number of nodes, 1 to MaxMembers. More than there are means all of them.
	Global int
	// Local is the number of threads on each of these nodes, 1 to MaxThreads; likewise capped.
	Local int
}

// Single is what every key has that is not replicated.
var Single = Replication{Global: 1, Local: 1}

// String shows "nodes x threads".
func (r Replication) String() string { return fmt.Sprintf("%dx%d", r.Global, r.Local) }

// checkReplicated copies the replicated keys without those that have a single owner anyway, and
// refuses what no map may contain. No key at all is nil.
func checkReplicated(replicated map[string]Replication) (map[string]Replication, error) {
	if len(replicated) > MaxReplicatedKeys {
		return nil, fmt.Errorf("%w: %d replicated keys, want at most %d", ErrInvalidMap, len(replicated), MaxReplicatedKeys)
	}
	var checked map[string]Replication
	for key, r := range replicated {
		switch {
		case key == "" || len(key) > MaxReplicatedKeyBytes:
			return nil, fmt.Errorf("%w: a replicated key has %d bytes, want 1 to %d", ErrInvalidMap, len(key), MaxReplicatedKeyBytes)
		case r.Global < 1 || r.Global > MaxMembers:
			return nil, fmt.Errorf("%w: key %.64q on %d nodes, want 1 to %d", ErrInvalidMap, key, r.Global, MaxMembers)
		case r.Local < 1 || r.Local > MaxThreads:
			return nil, fmt.Errorf("%w: key %.64q on %d threads a node, want 1 to %d", ErrInvalidMap, key, r.Local, MaxThreads)
		case r == Single:
			continue
		}
		if checked == nil {
			checked = make(map[string]Replication, len(replicated))
		}
		checked[key] = r
	}
	return checked, nil
}

// Replication returns how many owners a key has. It allocates nothing.
func (m *Map) Replication(key []byte) Replication {
	if len(m.replicated) == 0 {
		return Single
	}
	return m.replication(key, KeyHash(key))
}

func (m *Map) replication(key []byte, hash uint64) Replication {
	if len(m.replicated) == 0 {
		return Single
	}
	if _, maybe := m.replicatedHashes[hash]; !maybe {
		return Single
	}
	if r, ok := m.replicated[string(key)]; ok {
		return r
	}
	return Single // another key with the same hash is replicated
}

// ReplicatedKeys is the number of keys with more owners than one.
func (m *Map) ReplicatedKeys() int { return len(m.replicated) }

// Replicated yields the replicated keys, sorted.
func (m *Map) Replicated() iter.Seq2[string, Replication] {
	return func(yield func(string, Replication) bool) {
		for _, key := range slices.Sorted(maps.Keys(m.replicated)) {
			if !yield(key, m.replicated[key]) {
				return
			}
		}
	}
}
