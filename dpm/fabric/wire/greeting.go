package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Version is the protocol's version; both ends must speak the same one.
const Version = 1

var magic = [4]byte{'D', 'N', 'M', 'F'}

// Sizes of what a peer may send before it is admitted.
const (
	PreambleBytes    = 12
	MaxExtraBytes    = 1024
	MaxGreetingBytes = helloBytes + fabric.MaxIdentityBytes + 2 + MaxExtraBytes
	MaxAnswerBytes   = sessionBytes + fabric.MaxPathBytes + 2 + MaxExtraBytes

	helloBytes   = 48
	sessionBytes = 52
)

// Backend is which backend a connection belongs to: a dialler of one must not end up at a
// listener of another, because what Session promises differs.
type Backend uint8

// The backends that greet over a stream.
const (
	TCP     Backend = 1
	SHM     Backend = 2
	IBVerbs Backend = 3
)

// String returns the backend's name in configurations.
func (b Backend) String() string {
	switch b {
	case TCP:
		return "tcp"
	case SHM:
		return "shm"
	case IBVerbs:
		return "ibverbs"
	}
	return fmt.Sprintf("Backend(%d)", uint8(b))
}

// ErrBadFrame: the peer's bytes are not this protocol.
var ErrBadFrame = errors.New("malformed fabric frame")

// Preamble starts a greeting and its answer.
type Preamble struct {
	Version   uint16
	Backend   Backend
	Status    Status // answers only
	BodyBytes uint32
}

// Append encodes the preamble.
func (p Preamble) Append(b []byte) []byte {
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint16(b, p.Version)
	b = append(b, byte(p.Backend), byte(p.Status))
	return binary.LittleEndian.AppendUint32(b, p.BodyBytes)
}

// ParsePreamble decodes PreambleBytes. A body above limit is refused; a foreign version is not, so
// that the caller can tell the peer about it.
func ParsePreamble(b []byte, limit int) (Preamble, error) {
	if len(b) != PreambleBytes {
		return Preamble{}, fmt.Errorf("preamble of %d bytes: %w", len(b), ErrBadFrame)
	}
	if [4]byte(b) != magic {
		return Preamble{}, fmt.Errorf("peer does not speak the fabric protocol (first bytes % x): %w", b[:4], ErrBadFrame)
	}
	p := Preamble{
		Version:   binary.LittleEndian.Uint16(b[4:]),
		Backend:   Backend(b[6]),
		Status:    Status(b[7]),
		BodyBytes: binary.LittleEndian.Uint32(b[8:]),
	}
	if uint64(p.BodyBytes) > uint64(limit) {
		return Preamble{}, fmt.Errorf("greeting body of %d bytes, at most %d: %w", p.BodyBytes, limit, ErrBadFrame)
	}
	return p, nil
}

// AppendHello encodes the body of a greeting. extra is the backend's own, at most MaxExtraBytes.
func AppendHello(b []byte, h fabric.Hello, extra []byte) ([]byte, error) {
	if len(h.Identity) > fabric.MaxIdentityBytes {
		return nil, fmt.Errorf("identity of %d bytes, at most %d: %w", len(h.Identity), fabric.MaxIdentityBytes, fabric.ErrTooLong)
	}
	if len(extra) > MaxExtraBytes {
		return nil, fmt.Errorf("greeting extra of %d bytes, at most %d: %w", len(extra), MaxExtraBytes, fabric.ErrTooLong)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Rank))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Incarnation))
	b = binary.LittleEndian.AppendUint16(b, h.Thread)
	b = append(b, byte(h.Access), byte(len(h.Identity)))
	b = append(b, h.Pool[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.PID)
	b = binary.LittleEndian.AppendUint64(b, h.PIDStart)
	b = append(b, make([]byte, helloBytes-40)...) // reserved, zero
	b = append(b, h.Identity...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(extra)))
	return append(b, extra...), nil
}

// ParseHello decodes the body of a greeting. The results do not alias b.
func ParseHello(b []byte) (h fabric.Hello, extra []byte, err error) {
	if len(b) < helloBytes+2 {
		return h, nil, fmt.Errorf("hello of %d bytes: %w", len(b), ErrBadFrame)
	}
	h.Rank = fabric.Rank(binary.LittleEndian.Uint32(b))
	h.Incarnation = fabric.Incarnation(binary.LittleEndian.Uint32(b[4:]))
	h.Thread = binary.LittleEndian.Uint16(b[8:])
	h.Access = fabric.Access(b[10])
	identity := int(b[11])
	h.Pool = fabric.PoolID(b[12:28])
	h.PID = binary.LittleEndian.Uint32(b[28:])
	h.PIDStart = binary.LittleEndian.Uint64(b[32:])
	for _, reserved := range b[40:helloBytes] {
		if reserved != 0 {
			return h, nil, fmt.Errorf("hello with reserved bytes set: %w", ErrBadFrame)
		}
	}
	if h.Rank >= fabric.MaxRanks {
		return h, nil, fmt.Errorf("hello from rank %d, ranks end at %d: %w", h.Rank, fabric.MaxRanks-1, ErrBadFrame)
	}
	if h.Access != fabric.ReadOnly && h.Access != fabric.ReadWrite {
		return h, nil, fmt.Errorf("hello asks for access %d: %w", h.Access, ErrBadFrame)
	}
	id, rest, ok := cut(b[helloBytes:], identity)
	if !ok {
		return h, nil, fmt.Errorf("hello is cut short: %w", ErrBadFrame)
	}
	h.Identity = string(id)
	extra, err = parseExtra(rest)
	return h, extra, err
}

// AppendSession encodes the body of a positive answer.
func AppendSession(b []byte, s fabric.Session, extra []byte) ([]byte, error) {
	if len(s.Path) > fabric.MaxPathBytes {
		return nil, fmt.Errorf("path of %d bytes, at most %d: %w", len(s.Path), fabric.MaxPathBytes, fabric.ErrTooLong)
	}
	if len(extra) > MaxExtraBytes {
		return nil, fmt.Errorf("answer extra of %d bytes, at most %d: %w", len(extra), MaxExtraBytes, fabric.ErrTooLong)
	}
	b = append(b, s.Pool[:]...)
	b = binary.LittleEndian.AppendUint64(b, s.PoolBytes)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Rank))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Incarnation))
	b = binary.LittleEndian.AppendUint64(b, s.ServerEpoch)
	b = append(b, byte(s.Durability), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s.Path)))
	b = append(b, make([]byte, sessionBytes-44)...) // reserved, zero
	b = append(b, s.Path...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(extra)))
	return append(b, extra...), nil
}

// ParseSession decodes the body of a positive answer. The results do not alias b.
func ParseSession(b []byte) (s fabric.Session, extra []byte, err error) {
	if len(b) < sessionBytes+2 {
		return s, nil, fmt.Errorf("session of %d bytes: %w", len(b), ErrBadFrame)
	}
	s.Pool = fabric.PoolID(b[:16])
	s.PoolBytes = binary.LittleEndian.Uint64(b[16:])
	s.Rank = fabric.Rank(binary.LittleEndian.Uint32(b[24:]))
	s.Incarnation = fabric.Incarnation(binary.LittleEndian.Uint32(b[28:]))
	s.ServerEpoch = binary.LittleEndian.Uint64(b[32:])
	s.Durability = pmem.Durability(b[40])
	path, rest, ok := cut(b[sessionBytes:], int(binary.LittleEndian.Uint16(b[42:])))
	switch {
	case !ok:
		return s, nil, fmt.Errorf("session is cut short: %w", ErrBadFrame)
	case b[41] != 0 || binary.LittleEndian.Uint64(b[44:]) != 0:
		return s, nil, fmt.Errorf("session with reserved bytes set: %w", ErrBadFrame)
	case s.Rank == 0 || s.Rank >= fabric.MaxRanks:
		return s, nil, fmt.Errorf("session for rank %d: %w", s.Rank, ErrBadFrame)
	case s.Durability < pmem.Volatile || s.Durability > pmem.DAX:
		return s, nil, fmt.Errorf("session with durability %d: %w", s.Durability, ErrBadFrame)
	case len(path) > fabric.MaxPathBytes:
		return s, nil, fmt.Errorf("session with a path of %d bytes: %w", len(path), ErrBadFrame)
	}
	s.Path = string(path)
	extra, err = parseExtra(rest)
	return s, extra, err
}

func parseExtra(b []byte) ([]byte, error) {
	if len(b) < 2 || len(b) != 2+int(binary.LittleEndian.Uint16(b)) || len(b) > 2+MaxExtraBytes {
		return nil, fmt.Errorf("greeting's extra part has the wrong length: %w", ErrBadFrame)
	}
	return append([]byte(nil), b[2:]...), nil
}

// cut splits b after n bytes, if it has that many.
func cut(b []byte, n int) (head, rest []byte, ok bool) {
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
