package ownership

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// RecordName is the name of the metadata record that holds the map in force. The record's version is the map's epoch.
const RecordName = "ownership"

// ErrNoMap means that a message that should carry a map has none.
var ErrNoMap = errors.New("message carries no ownership map")

// FromWire checks a map as it came and builds its rings. previous may be nil; rings that did not change are shared with it.
func FromWire(w *messages.OwnershipMap, previous *hashring.Map) (*hashring.Map, error) {
	if w == nil {
		return nil, ErrNoMap
	}
	spec := hashring.Spec{
		Epoch:        hashring.Epoch(w.GetEpoch()),
		VirtualNodes: int(w.GetVirtualNodes()),
	}
	for _, m := range w.GetMembers() {
		spec.Members = append(spec.Members, hashring.Member{
			Rank: hashring.Rank(m.GetRank()), PublicIP: m.GetPublicIp(), PrivateIP: m.GetPrivateIp(),
			Threads: int(m.GetThreads()), Incarnation: m.GetIncarnation(),
		})
	}
	if len(w.GetReplicated()) > 0 {
		spec.Replicated = make(map[string]hashring.Replication, len(w.GetReplicated()))
	}
	for _, k := range w.GetReplicated() {
		spec.Replicated[string(k.GetKey())] = hashring.Replication{
			Global: int(k.GetGlobalFactor()), Local: int(k.GetLocalFactor()),
		}
	}
	if previous == nil {
		return hashring.NewMap(spec)
	}
	return previous.Derive(spec)
}

// ToWire is the inverse of FromWire. The result is deterministic: members and keys are sorted.
func ToWire(m *hashring.Map, coordinator string) *messages.OwnershipMap {
	w := &messages.OwnershipMap{
		Epoch: uint64(m.Epoch()), VirtualNodes: uint32(m.VirtualNodes()), Coordinator: coordinator,
	}
	for _, member := range m.Members() {
		w.Members = append(w.Members, &messages.Member{
			Rank: uint32(member.Rank), PublicIp: member.PublicIP, PrivateIp: member.PrivateIP,
			Threads: uint32(member.Threads), Incarnation: member.Incarnation,
		})
	}
	for key, r := range m.Replicated() {
		w.Replicated = append(w.Replicated, &messages.ReplicatedKey{
			Key: []byte(key), GlobalFactor: uint32(r.Global), LocalFactor: uint32(r.Local),
		})
	}
	return w
}

// Encode returns the bytes of the metadata record for m.
func Encode(m *hashring.Map, coordinator string) ([]byte, error) {
	return messages.Marshal(ToWire(m, coordinator))
}

// Decode reads a metadata record and checks that it is the map of that version.
func Decode(record []byte, version uint64, previous *hashring.Map) (*hashring.Map, error) {
	var w messages.OwnershipMap
	if err := messages.Unmarshal(record, &w); err != nil {
		return nil, fmt.Errorf("ownership record version %d: %w", version, err)
	}
	if w.GetEpoch() != version {
		return nil, fmt.Errorf("ownership record version %d holds epoch %d", version, w.GetEpoch())
	}
	m, err := FromWire(&w, previous)
	if err != nil {
		return nil, fmt.Errorf("ownership record version %d: %w", version, err)
	}
	return m, nil
}
