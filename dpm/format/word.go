package format

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrDamaged is wrapped by every error that says stored bytes are not what was written.
var ErrDamaged = errors.New("damaged")

// WordBytes is the size of a word: what one atomic store changes.
const WordBytes = 8

// PayloadBits is how much of a checked word is payload.
const PayloadBits = 48

// MaxPayload is the largest payload of a checked word.
const MaxPayload = 1<<PayloadBits - 1

// A Role names what a checked word is for; a word checks only under the role it was sealed with.
//
//	 63            48 47                                             0
//	+----------------+-----------------------------------------------+
//	| CRC-16 ^ role  | payload                                       |
//	+----------------+-----------------------------------------------+
//
// The word 0 is the payload 0 under any role, so fresh zero pages are valid.
type Role uint16

// Roles of checked words. Values are durable. Each is chosen so that no flip of up to three bits turns
// the word 0 into a checked word: TestRolesKeepTheirDistance.
const (
	RoleSegmentState       Role = 0x1103
	RoleSegmentGeneration  Role = 0x1105
	RoleSegmentOrder       Role = 0x1106
	RoleSegmentIncarnation Role = 0x1107
	RoleSegmentMerged      Role = 0x1109
	RoleSegmentSealed      Role = 0x110a
	RoleSegmentTable       Role = 0x110c
	RoleSegmentSettled     Role = 0x110d
	RoleRankState          Role = 0x2203
	RoleRankIdentity       Role = 0x2205
	RoleRankProcess        Role = 0x2206
	RoleRankStart          Role = 0x2207
	RoleBucketHeader       Role = 0x3300
	RoleBucketOverflow     Role = 0x3303
	RoleServerEpoch        Role = 0x3305
)

// crc16 tables of CRC-16/CCITT (polynomial 0x1021) over the six payload bytes, one table a byte
// position, so that a check is six independent lookups. BenchmarkCheckedWord has the figure.
var crc16 = func() (t [6][256]uint16) {
	for v := range 256 {
		crc := uint16(v) << 8
		for range 8 {
			crc = crcShift(crc)
		}
		for position := range t {
			t[position][v] = crc
			for range 8 {
				crc = crcShift(crc)
			}
		}
	}
	return t
}()

// crcShift advances a CRC by one zero bit.
func crcShift(crc uint16) uint16 {
	if crc&0x8000 != 0 {
		return crc<<1 ^ 0x1021
	}
	return crc << 1
}

func wordCheck(role Role, payload uint64) uint16 {
	return crc16[0][byte(payload)] ^ crc16[1][byte(payload>>8)] ^ crc16[2][byte(payload>>16)] ^
		crc16[3][byte(payload>>24)] ^ crc16[4][byte(payload>>32)] ^ crc16[5][byte(payload>>40)] ^ uint16(role)
}

// SealWord returns payload (at most MaxPayload; more is a programmer error and panics) with its check.
func SealWord(role Role, payload uint64) uint64 {
	if payload == 0 {
		return 0
	}
	if payload > MaxPayload {
		panic(fmt.Sprintf("format: payload %#x of role %#x has more than %d bits", payload, uint16(role), PayloadBits))
	}
	return payload | uint64(wordCheck(role, payload))<<PayloadBits
}

// OpenWord returns the payload of a checked word and whether its check holds.
func OpenWord(role Role, word uint64) (payload uint64, ok bool) {
	payload = word & MaxPayload
	if payload == 0 {
		return 0, word == 0
	}
	return payload, uint16(word>>PayloadBits) == wordCheck(role, payload)
}

// WordError reports a checked word that fails its check.
type WordError struct {
	What   string // "segment state"
	Offset uint64 // its address in the pool
	Word   uint64 // what was found there
}

// Error implements error.
func (e *WordError) Error() string {
	return fmt.Sprintf("%s word at offset %#x is damaged: %#016x fails its check", e.What, e.Offset, e.Word)
}

// Unwrap makes errors.Is(err, ErrDamaged) true.
func (e *WordError) Unwrap() error { return ErrDamaged }

func le64(b []byte) uint64        { return binary.LittleEndian.Uint64(b) }
func le32(b []byte) uint32        { return binary.LittleEndian.Uint32(b) }
func put64(b []byte, v uint64)    { binary.LittleEndian.PutUint64(b, v) }
func put32(b []byte, v uint32)    { binary.LittleEndian.PutUint32(b, v) }
func alignUp(v, to uint64) uint64 { return (v + to - 1) / to * to }
