package messages

import (
	"fmt"
	"strings"

	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// metadataPrefix begins the keys under which the system keeps its own data. It is Anna's.
const metadataPrefix = "ANNA_METADATA|"

// MetadataKind is what a metadata key is about.
type MetadataKind string

// The kinds of metadata, and the message that each one's value wraps.
const (
	MetadataReplication MetadataKind = "replication" // ReplicationFactor
	MetadataStats       MetadataKind = "stats"       // ServerThreadStatistics
	MetadataAccess      MetadataKind = "access"      // KeyAccessData
	MetadataSize        MetadataKind = "size"        // KeySizeData
)

// MetadataKey names a piece of metadata. Of the kind replication it has Key alone; of the others all but Key.
type MetadataKey struct {
	Kind      MetadataKind
	Key       string
	PublicIP  string
	PrivateIP string
	Thread    uint32
	Tier      Tier
}

// IsMetadataKey says whether a key belongs to the system's metadata. It costs a comparison: it is on the hot path.
func IsMetadataKey(key string) bool { return strings.HasPrefix(key, metadataPrefix) }

// String returns ANNA_METADATA|replication|<key> or ANNA_METADATA|<kind>|<public_ip>|<private_ip>|<thread>|<TIER>.
func (m MetadataKey) String() string {
	if m.Kind == MetadataReplication {
		return metadataPrefix + string(m.Kind) + "|" + m.Key
	}
	return metadataPrefix + string(m.Kind) + "|" + m.PublicIP + "|" + m.PrivateIP + "|" + decimal(m.Thread) + "|" + m.Tier.String()
}

// ParseMetadataKey reads what MetadataKey's String writes. The key of the kind replication may be any bytes, bars included,
// but not empty. Errors wrap ErrMalformed.
func ParseMetadataKey(s string) (MetadataKey, error) {
	const form = "ANNA_METADATA|replication|<key> or ANNA_METADATA|<stats|access|size>|<public_ip>|<private_ip>|<thread>|<TIER>"
	rest, ok := strings.CutPrefix(s, metadataPrefix)
	if !ok {
		return MetadataKey{}, fmt.Errorf("%w: metadata key %q; want %s", ErrMalformed, clip(s), form)
	}
	kind, rest, _ := strings.Cut(rest, "|")
	m := MetadataKey{Kind: MetadataKind(kind)}
	switch m.Kind {
	case MetadataReplication:
		if m.Key = rest; rest == "" {
			return MetadataKey{}, fmt.Errorf("%w: metadata key %q has no key; want %s", ErrMalformed, s, form)
		}
		return m, nil
	case MetadataStats, MetadataAccess, MetadataSize:
	default:
		return MetadataKey{}, fmt.Errorf("%w: metadata kind %q; want %s", ErrMalformed, clip(kind), form)
	}
	fields, err := split(rest, "|", 4, form)
	if err != nil {
		return MetadataKey{}, err
	}
	for _, ip := range fields[:2] {
		if _, err := ParseIP(ip); err != nil {
			return MetadataKey{}, fmt.Errorf("%w: metadata key: %w; want %s", ErrMalformed, err, form)
		}
	}
	m.PublicIP, m.PrivateIP = fields[0], fields[1]
	if m.Thread, err = parseUint32(fields[2], "thread", form); err != nil {
		return MetadataKey{}, err
	}
	if m.Tier, err = parseTier(fields[3], form); err != nil {
		return MetadataKey{}, err
	}
	return m, nil
}

// MetadataPayload wraps a metadata message in the LWW payload in which it is stored and travels.
func MetadataPayload(timestamp uint64, m Message) ([]byte, error) {
	value, err := Marshal(m)
	if err != nil {
		return nil, err
	}
	return lattice.LWWValue{Timestamp: timestamp, Value: value}.Append([]byte{}), nil
}

// ParseMetadataPayload unwraps what MetadataPayload made into m and returns the timestamp. Errors wrap ErrMalformed.
func ParseMetadataPayload(payload []byte, m Message) (timestamp uint64, err error) {
	v, err := lattice.ParseLWW(payload, lattice.Options{})
	if err != nil {
		return 0, fmt.Errorf("%w: metadata payload: %w", ErrMalformed, err)
	}
	return v.Timestamp, Unmarshal(v.Value, m)
}
