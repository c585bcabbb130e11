package format

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// A metadata record is a named blob with a version. It has two slots; the valid one with the higher
// version counts, and a change is written to the other: a crash in the middle leaves the old version.
//
//	 byte
//	   0   magic u32
//	   4   checksum u32    CRC32C of bytes 8 to the end of the blob, salted
//	   8   version u64     from 1
//	  16   length u32      of the blob
//	  20   nameLength u32  1 to 64
//	  24   name, zero-padded to 64 bytes
//	  88   reserved, zero
//	 128   blob

// Sizes of a metadata slot.
const (
	MetadataHeaderBytes = 128
	MaxMetadataName     = 64

	metadataMagic = 0x6174656d // "meta"
)

// Metadata is a decoded slot. Blob points into the bytes it was decoded from.
type Metadata struct {
	Name    string
	Version uint64
	Blob    []byte
}

// ErrNoMetadata: the slot holds no whole record (never written, torn or damaged).
var ErrNoMetadata = fmt.Errorf("metadata slot is empty or %w", ErrDamaged)

// MetadataBytes returns how much of a slot a blob takes.
func MetadataBytes(blobBytes int) uint64 {
	return alignUp(MetadataHeaderBytes+uint64(blobBytes), WordBytes)
}

// EncodeMetadata writes m to the start of dst and returns the number of bytes to store: a multiple of
// 8. dst must hold MetadataBytes(len(m.Blob)); the name must have 1 to MaxMetadataName bytes.
func EncodeMetadata(s Salt, dst []byte, m *Metadata) uint64 {
	if len(m.Name) == 0 || len(m.Name) > MaxMetadataName || m.Version == 0 {
		panic(fmt.Sprintf("format: no metadata slot can hold name %q, version %d", m.Name, m.Version))
	}
	size := MetadataBytes(len(m.Blob))
	dst = dst[:size]
	clear(dst[:MetadataHeaderBytes])
	put32(dst[0:], metadataMagic)
	put64(dst[8:], m.Version)
	put32(dst[16:], uint32(len(m.Blob)))
	put32(dst[20:], uint32(len(m.Name)))
	copy(dst[24:], m.Name)
	end := MetadataHeaderBytes + copy(dst[MetadataHeaderBytes:], m.Blob)
	clear(dst[end:])
	put32(dst[4:], crc32.Update(s.seed(3), castagnoli, dst[8:end]))
	return size
}

// DecodeMetadata decodes the slot at the start of src. It fails with ErrNoMetadata.
func DecodeMetadata(s Salt, src []byte, m *Metadata) error {
	if len(src) < MetadataHeaderBytes || le32(src) != metadataMagic {
		return ErrNoMetadata
	}
	length, nameLength := uint64(le32(src[16:])), le32(src[20:])
	if length > uint64(len(src)-MetadataHeaderBytes) || nameLength == 0 || nameLength > MaxMetadataName {
		return ErrNoMetadata
	}
	end := MetadataHeaderBytes + length
	if le32(src[4:]) != crc32.Update(s.seed(3), castagnoli, src[8:end]) || le64(src[8:]) == 0 {
		return ErrNoMetadata
	}
	*m = Metadata{
		Name:    string(bytes.Clone(src[24 : 24+nameLength])),
		Version: le64(src[8:]),
		Blob:    src[MetadataHeaderBytes:end:end],
	}
	return nil
}
