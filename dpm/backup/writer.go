package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Writer writes an archive.
type Writer struct {
	out     io.Writer
	encoder *zstd.Encoder
	raw     []byte
	packed  []byte
	count   uint32
	frames  uint64
	totals  totals
	digest  *xxhash.Digest
	written uint64
	failed  error
}

// NewWriter begins an archive.
func NewWriter(out io.Writer, h *Header) (*Writer, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	w := &Writer{out: out, encoder: encoder, digest: xxhash.New()}
	return w, w.write(h.encode())
}

func (w *Writer) write(b []byte) error {
	if w.failed == nil {
		n, err := w.out.Write(b)
		w.written += uint64(n)
		if err != nil {
			w.failed = fmt.Errorf("write backup: %w", err)
		}
	}
	return w.failed
}

// Put adds a key with its value, as e stores it.
func (w *Writer) Put(e *format.Entry) error {
	w.raw = append(w.raw, recordPut, e.Lattice, byte(e.Flags.Codec()))
	w.raw = binary.AppendUvarint(w.raw, uint64(len(e.Key)))
	w.raw = binary.AppendUvarint(w.raw, uint64(len(e.Value)))
	w.raw = binary.AppendUvarint(w.raw, uint64(e.RawLength))
	w.raw = append(append(w.raw, e.Key...), e.Value...)
	w.totals.puts++
	return w.added()
}

// Metadata adds a metadata record.
func (w *Writer) Metadata(name string, version uint64, blob []byte) error {
	w.raw = append(w.raw, recordMetadata)
	w.raw = binary.AppendUvarint(w.raw, version)
	w.raw = binary.AppendUvarint(w.raw, uint64(len(name)))
	w.raw = binary.AppendUvarint(w.raw, uint64(len(blob)))
	w.raw = append(append(w.raw, name...), blob...)
	w.totals.metadata++
	return w.added()
}

func (w *Writer) added() error {
	w.count++
	if len(w.raw) < frameTarget {
		return w.failed
	}
	return w.flush()
}

// flush writes what was collected as a frame.
func (w *Writer) flush() error {
	if w.count == 0 {
		return w.failed
	}
	stored := w.raw
	if w.packed = w.encoder.EncodeAll(w.raw, w.packed[:0]); len(w.packed) < len(w.raw) {
		stored = w.packed
	}
	_, _ = w.digest.Write(w.raw) // it never fails
	w.totals.rawBytes += uint64(len(w.raw))
	err := w.frame(frameData, len(w.raw), stored, w.count)
	w.raw, w.count = w.raw[:0], 0
	return err
}

func (w *Writer) frame(kind uint8, rawBytes int, stored []byte, count uint32) error {
	f := frameHeader{kind: kind, number: w.frames, rawBytes: uint32(rawBytes), storedBytes: uint32(len(stored)), count: count}
	w.frames++
	return errors.Join(w.write(f.encode(stored)), w.write(stored))
}

// Close writes the archive's end. skipped is the number of damaged entries that were left out.
func (w *Writer) Close(skipped uint64) error {
	if err := w.flush(); err != nil {
		return err
	}
	w.totals.digest, w.totals.skipped = w.digest.Sum64(), skipped
	return w.frame(frameEnd, endBytes, w.totals.encode(), 0)
}
