package lattice

import (
	"bytes"
	"errors"
	"fmt"
)

// Type is the merge rule of a key's values: the number of a LatticeType on the wire.
type Type uint8

// The lattice types. None is what an unset field says; it has no rule and no value.
const (
	None Type = iota
	LWW
	Set
	SingleCausal
	MultiCausal
	OrderedSet
	Priority
	// NumTypes is one above the largest known Type.
	NumTypes
)

var typeNames = [NumTypes]string{"NONE", "LWW", "SET", "SINGLE_CAUSAL", "MULTI_CAUSAL", "ORDERED_SET", "PRIORITY"}

// String returns the type's name on the wire.
func (t Type) String() string {
	if t >= NumTypes {
		return fmt.Sprintf("Type(%d)", uint8(t))
	}
	return typeNames[t]
}

// Mergeable says whether t has values and a rule for them.
func (t Type) Mergeable() bool { return t > None && t < NumTypes }

var (
	// ErrMalformed means that bytes are not a payload of the type they are said to be.
	ErrMalformed = errors.New("malformed lattice payload")
	// ErrType means that a type is None or unknown.
	ErrType = errors.New("no such lattice type")
	// ErrTooLarge means that a payload, or what merging would make, is above Options' limits.
	ErrTooLarge = errors.New("lattice payload too large")
)

// Mode is who orders LWW writes.
type Mode uint8

const (
	// Arrival: the owner of the key does; the incoming value always wins. Linearizable.
	Arrival Mode = iota
	// Timestamp: the writers do, as in Anna; an older timestamp never replaces a newer one, an equal one does.
	Timestamp
)

// String returns the name that ParseMode reads.
func (m Mode) String() string {
	switch m {
	case Arrival:
		return "arrival"
	case Timestamp:
		return "timestamp"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// ParseMode reads arrival or timestamp.
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{Arrival, Timestamp} {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("LWW mode %q: want arrival or timestamp", s)
}

// Options bounds payloads and picks the LWW mode. The zero value is valid and means the defaults.
type Options struct {
	// MaxPayloadBytes bounds every payload, taken or made. Default 4 MiB: half a log segment, so that an entry always
	// fits one. Larger only with larger segments.
	MaxPayloadBytes int
	// MaxElements bounds set members, values, dependencies and clock entries of a payload, each. Default 1 Mi: an
	// empty member costs a sender 2 bytes and us 24, and this is where that stops.
	MaxElements int
	// Mode is for LWW only. Default Arrival.
	Mode Mode
}

// EnsureDefaults returns o with its zero fields set.
func (o Options) EnsureDefaults() Options {
	if o.MaxPayloadBytes == 0 {
		o.MaxPayloadBytes = 4 << 20
	}
	if o.MaxElements == 0 {
		o.MaxElements = 1 << 20
	}
	return o
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	if o.MaxPayloadBytes < 0 || o.MaxElements < 0 {
		return fmt.Errorf("lattice options: limits must not be negative: %d bytes, %d elements", o.MaxPayloadBytes, o.MaxElements)
	}
	if o.Mode > Timestamp {
		return fmt.Errorf("lattice options: unknown LWW mode %d", o.Mode)
	}
	return nil
}

// Merge returns the payload that a key of type t has after incoming arrives where current is stored, and whether that
// differs from current. Both payloads are checked, and an error says which one is wrong. A nil current means that the key has no value yet; an empty one that is not nil is a payload
// like any other. merged is never nil; it may be current or incoming itself, and may share memory with neither.
func Merge(t Type, current, incoming []byte, opts Options) (merged []byte, changed bool, err error) {
	opts = opts.EnsureDefaults()
	if t == LWW {
		return mergeLWW(current, incoming, opts)
	}
	if merged, err = join(t, current, incoming, opts); err != nil {
		return nil, false, err
	}
	if len(merged) > opts.MaxPayloadBytes {
		return nil, false, fmt.Errorf("%w: merging two %s values makes %d bytes, the limit is %d", ErrTooLarge, t, len(merged), opts.MaxPayloadBytes)
	}
	if current != nil && bytes.Equal(merged, current) {
		return current, false, nil
	}
	return merged, true, nil
}

// join merges payloads of the types whose merge does not depend on Options, into canonical bytes.
func join(t Type, current, incoming []byte, opts Options) ([]byte, error) {
	switch t {
	case Set, OrderedSet:
		return joinPayloads(current, incoming, func(b []byte) (SetValue, error) { return ParseSet(b, opts) })
	case SingleCausal, MultiCausal:
		return joinPayloads(current, incoming, func(b []byte) (CausalValue, error) { return ParseCausal(t, b, opts) })
	case Priority:
		return joinPayloads(current, incoming, func(b []byte) (PriorityValue, error) { return ParsePriority(b, opts) })
	}
	return nil, fmt.Errorf("%w: %s", ErrType, t)
}

// joiner is a decoded value that merges with another of its kind.
type joiner[T any] interface {
	Merge(T) T
	Append(dst []byte) []byte
}

func joinPayloads[T joiner[T]](current, incoming []byte, parse func([]byte) (T, error)) ([]byte, error) {
	value, err := parse(incoming)
	if err != nil {
		return nil, fmt.Errorf("incoming: %w", err)
	}
	if current != nil {
		have, err := parse(current)
		if err != nil {
			return nil, fmt.Errorf("current: %w", err)
		}
		value = have.Merge(value)
	}
	return value.Append([]byte{}), nil
}

// Validate says what is wrong with a payload of type t: ErrType, ErrTooLarge or ErrMalformed.
func Validate(t Type, payload []byte, opts Options) error {
	opts = opts.EnsureDefaults()
	var err error
	switch t {
	case LWW:
		_, err = ParseLWW(payload, opts)
	case Set, OrderedSet:
		err = validateSet(payload, opts)
	case SingleCausal, MultiCausal:
		_, err = ParseCausal(t, payload, opts)
	case Priority:
		_, err = ParsePriority(payload, opts)
	default:
		err = fmt.Errorf("%w: %s", ErrType, t)
	}
	return err
}
