package remote

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Compression names a codec for values.
type Compression uint8

// The codecs.
const (
	CompressNone Compression = iota
	CompressS2               // fast, about half the gain of zstd
	CompressZstd             // klauspost's fastest level
)

var compressionNames = [...]string{"none", "s2", "zstd"}

// String returns the codec's name as configurations spell it.
func (c Compression) String() string {
	if int(c) >= len(compressionNames) {
		return fmt.Sprintf("Compression(%d)", uint8(c))
	}
	return compressionNames[c]
}

// ParseCompression is String's inverse; "" is none.
func ParseCompression(s string) (Compression, error) {
	for i, name := range compressionNames {
		if s == name {
			return Compression(i), nil
		}
	}
	if s == "" {
		return CompressNone, nil
	}
	return 0, fmt.Errorf("compression %q: want none, s2 or zstd", s)
}

// compressor packs values for one appender.
type compressor struct {
	kind   Compression
	above  int
	zstd   *zstd.Encoder
	buffer []byte

	counters CompressCounters
}

// CompressCounters say what compression did.
type CompressCounters struct {
	Tried       uint64 // values of at least CompressAbove bytes
	Kept        uint64 // of them, those stored compressed
	BytesTried  uint64 // before compression, of all tried
	BytesStored uint64 // after it, of all tried: as stored, so raw where it did not pay
}

func newCompressor(kind Compression, above int) (*compressor, error) {
	c := &compressor{kind: kind, above: above}
	if kind == CompressZstd {
		var err error
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("zstd encoder: %w", err)
		}
	}
	return c, nil
}

// compress returns what to store for value and its codec flag. The result is valid until the next call.
func (c *compressor) compress(value []byte) ([]byte, format.Flags) {
	if c.kind == CompressNone || len(value) < c.above {
		return value, format.CodecNone
	}
	c.counters.Tried++
	c.counters.BytesTried += uint64(len(value))
	packed, flag := value, format.CodecNone
	switch c.kind {
	case CompressS2:
		if need := s2.MaxEncodedLen(len(value)); need > len(c.buffer) {
			c.buffer = make([]byte, need)
		}
		packed, flag = s2.Encode(c.buffer, value), format.CodecS2
	case CompressZstd:
		c.buffer = c.zstd.EncodeAll(value, c.buffer[:0])
		packed, flag = c.buffer, format.CodecZstd
	}
	// What does not save a word is not worth unpacking.
	if len(packed)+format.WordBytes > len(value) {
		packed, flag = value, format.CodecNone
	} else {
		c.counters.Kept++
	}
	c.counters.BytesStored += uint64(len(packed))
	return packed, flag
}

// ErrUndecodable: a sound entry's value does not unpack to the length it claims.
var ErrUndecodable = errors.New("stored value does not decompress")

// decompressor unpacks values for one reader.
type decompressor struct{ zstd *zstd.Decoder }

// decompress appends to dst[:0] the raw value of e, whose codec is not none. dst must have room for e.RawLength bytes.
func (d *decompressor) decompress(dst []byte, e *format.Entry) ([]byte, error) {
	want := int(e.RawLength)
	var raw []byte
	var err error
	switch e.Flags.Codec() {
	case format.CodecS2:
		if n, lengthErr := s2.DecodedLen(e.Value); lengthErr != nil || n != want {
			return nil, fmt.Errorf("%w: s2 length %d, entry says %d", ErrUndecodable, n, want)
		}
		raw, err = s2.Decode(dst[:want], e.Value)
	case format.CodecZstd:
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(format.MaxSizeUnits*format.SizeUnit)))
			if err != nil {
				return nil, fmt.Errorf("zstd decoder: %w", err)
			}
		}
		raw, err = d.zstd.DecodeAll(e.Value, dst[:0])
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if len(raw) != want {
		return nil, fmt.Errorf("%w: %d bytes, entry says %d", ErrUndecodable, len(raw), want)
	}
	return raw, nil
}

// Unpack returns the raw value of a decoded entry, uncompressed if it was compressed. It is for tools: a Reader
// does it by itself, and without allocating.
func Unpack(e *format.Entry) ([]byte, error) {
	if e.Flags.Codec() == format.CodecNone {
		return e.Value, nil
	}
	var d decompressor
	return d.decompress(make([]byte, e.RawLength), e)
}
