package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Reader reads an archive and checks all of it. Bytes are hostile until their frame's checksum holds; what Next has
// returned counts only once Next has returned io.EOF.
type Reader struct {
	in      io.Reader
	decoder *zstd.Decoder
	header  Header
	stored  bytes.Buffer
	raw     []byte // what is left of the frame
	scratch []byte
	count   uint32 // records left in the frame
	frames  uint64
	totals  totals // as read so far
	digest  *xxhash.Digest
	ended   bool
}

// Record is a key with its value, or (Name is set) a metadata record. Its bytes are valid until Next.
type Record struct {
	Entry   format.Entry // Op, Lattice, Flags, RawLength, Key, Value
	Name    string
	Version uint64
	Blob    []byte
}

// NewReader reads an archive's header.
func NewReader(in io.Reader) (*Reader, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrameBytes))
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	r := &Reader{in: in, decoder: decoder, digest: xxhash.New()}
	head := make([]byte, headerBytes)
	n, err := io.ReadFull(in, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	r.header, err = decodeHeader(head[:n])
	return r, err
}

// Header says where the archive came from.
func (r *Reader) Header() Header { return r.header }

// Skipped is how many damaged entries were left out of the archive, known after its end.
func (r *Reader) Skipped() uint64 { return r.totals.skipped }

// Close gives the decoder's memory back.
func (r *Reader) Close() { r.decoder.Close() }

// Next returns the next record; io.EOF at the archive's end, when everything in it was sound; an error that wraps
// ErrDamaged when something was not.
func (r *Reader) Next() (Record, error) {
	for r.count == 0 {
		if r.ended {
			return Record{}, io.EOF
		}
		if len(r.raw) > 0 {
			return Record{}, r.damaged("has %d bytes after its last record", len(r.raw))
		}
		if err := r.frame(); err != nil {
			return Record{}, err
		}
	}
	r.count--
	if len(r.raw) == 0 {
		return Record{}, r.damaged("has fewer records than it says")
	}
	kind := r.raw[0]
	r.raw = r.raw[1:]
	switch kind {
	case recordPut:
		return r.put()
	case recordMetadata:
		return r.metadata()
	}
	return Record{}, r.damaged("has a record of kind %d", kind)
}

func (r *Reader) damaged(detail string, args ...any) error {
	return fmt.Errorf("%w: frame %d %s", ErrDamaged, r.frames-1, fmt.Sprintf(detail, args...))
}

// frame reads the next frame, which may be the end.
func (r *Reader) frame() error {
	header := make([]byte, frameHeaderBytes)
	if err := r.fill(header); err != nil {
		return err
	}
	f, err := decodeFrameHeader(header, r.frames)
	if err != nil {
		return err
	}
	// The buffer grows as bytes come, so a header that lies costs nothing.
	r.stored.Reset()
	if n, err := io.CopyN(&r.stored, r.in, int64(f.storedBytes)); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %d of %d bytes of frame %d", ErrTruncated, n, f.storedBytes, f.number)
		}
		return fmt.Errorf("read backup: %w", err)
	}
	stored := r.stored.Bytes()
	if frameChecksum(header, stored) != f.checksum {
		return fmt.Errorf("%w: checksum of frame %d is wrong", ErrDamaged, f.number)
	}
	r.frames++
	if f.kind == frameEnd {
		return r.end(stored)
	}
	if r.raw = stored; f.storedBytes < f.rawBytes {
		if r.scratch, err = r.decoder.DecodeAll(stored, r.scratch[:0]); err != nil {
			return r.damaged("does not decompress: %v", err)
		}
		r.raw = r.scratch
	}
	if len(r.raw) != int(f.rawBytes) {
		return r.damaged("has %d bytes, not %d", len(r.raw), f.rawBytes)
	}
	_, _ = r.digest.Write(r.raw)
	r.totals.rawBytes += uint64(len(r.raw))
	r.count = f.count
	return nil
}

// fill reads exactly len(b) bytes.
func (r *Reader) fill(b []byte) error {
	_, err := io.ReadFull(r.in, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: no frame %d", ErrTruncated, r.frames)
	}
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	return nil
}

// end compares what was read with what the end frame says, and expects nothing after it.
func (r *Reader) end(stored []byte) error {
	says := decodeTotals(stored)
	r.totals.digest, r.totals.skipped = r.digest.Sum64(), says.skipped
	if says != r.totals {
		return fmt.Errorf("%w: it holds %+v, its end says %+v", ErrDamaged, r.totals, says)
	}
	var one [1]byte
	switch n, err := io.ReadFull(r.in, one[:]); {
	case n > 0:
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	case err != io.EOF:
		return fmt.Errorf("read backup: %w", err)
	}
	r.ended = true
	return nil
}

// uvarint takes a number of at most limit off the frame.
func (r *Reader) uvarint(limit uint64) (uint64, bool) {
	v, n := binary.Uvarint(r.raw)
	if n <= 0 || v > limit {
		return 0, false
	}
	r.raw = r.raw[n:]
	return v, true
}

// take takes n bytes off the frame. There are as many.
func (r *Reader) take(n uint64) []byte {
	b := r.raw[:n:n]
	r.raw = r.raw[n:]
	return b
}

func (r *Reader) put() (rec Record, err error) {
	if len(r.raw) < 2 {
		return rec, r.damaged("ends within a record")
	}
	lattice, codec := r.raw[0], format.Flags(r.raw[1])
	r.raw = r.raw[2:]
	key, ok1 := r.uvarint(format.MaxKeyBytes)
	stored, ok2 := r.uvarint(maxFrameBytes)
	raw, ok3 := r.uvarint(format.MaxSizeUnits * format.SizeUnit)
	switch {
	case !ok1 || !ok2 || !ok3 || key == 0 || key+stored > uint64(len(r.raw)):
		return rec, r.damaged("has a record whose lengths are wrong")
	case codec > format.CodecZstd || codec == format.CodecNone && raw != stored:
		return rec, r.damaged("has a value of codec %d, %d bytes stored in %d", codec, raw, stored)
	}
	r.totals.puts++
	rec.Entry = format.Entry{Op: format.OpPut, Lattice: lattice, Flags: codec, RawLength: uint32(raw), Key: r.take(key), Value: r.take(stored)}
	return rec, nil
}

func (r *Reader) metadata() (rec Record, err error) {
	version, ok1 := r.uvarint(1<<64 - 1)
	name, ok2 := r.uvarint(format.MaxMetadataName)
	blob, ok3 := r.uvarint(maxFrameBytes)
	if !ok1 || !ok2 || !ok3 || name == 0 || name+blob > uint64(len(r.raw)) {
		return rec, r.damaged("has a metadata record whose lengths are wrong")
	}
	r.totals.metadata++
	return Record{Version: version, Name: string(r.take(name)), Blob: r.take(blob)}, nil
}
