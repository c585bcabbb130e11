package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"
)

// Bounds of what a file may ask for.
const (
	// MaxLine is the longest line.
	MaxLine = 128 << 10
	// MaxKey is the longest key.
	MaxKey = 64<<10 - 1
	// MaxValue is the largest value size.
	MaxValue = 1 << 30
	// maxWindow bounds what a compressed file may make the decoder allocate.
	maxWindow = 64 << 20
)

// ErrFormat: a line of a trace file cannot be read. The error names the line.
var ErrFormat = errors.New("malformed trace")

// A Reader is the Source of a file's bytes.
type Reader struct {
	lines  *bufio.Reader
	zstd   *zstd.Decoder
	file   io.Closer
	parse  func(line []byte, op *Op) error
	number int
}

// NewReader finds out how r is compressed and laid out and returns its operations.
func NewReader(r io.Reader) (*Reader, error) {
	s := &Reader{lines: bufio.NewReaderSize(r, MaxLine)}
	if magic, _ := s.lines.Peek(4); bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		d, err := zstd.NewReader(s.lines, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("start decompression: %w", err)
		}
		s.zstd = d
		s.lines = bufio.NewReaderSize(d, MaxLine)
	}
	head, err := s.lines.Peek(MaxLine)
	if err != nil && err != io.EOF && len(head) == 0 {
		s.Close()
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	first, _, _ := bytes.Cut(head, []byte("\n"))
	s.parse = parseText
	if bytes.Count(first, []byte(",")) >= 6 && !bytes.ContainsAny(first[:1], "GUD#") {
		s.parse = parseTwitter
	}
	return s, nil
}

// Close implements Source.
func (s *Reader) Close() error {
	if s.zstd != nil {
		s.zstd.Close()
	}
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Next implements Source. Empty lines and lines that start with # are skipped.
func (s *Reader) Next(op *Op) error {
	for {
		s.number++
		line, err := s.lines.ReadSlice('\n')
		if err != nil && (err != io.EOF || len(line) == 0) {
			if err == io.EOF {
				return err
			}
			return fmt.Errorf("%w: line %d: %w (a line has at most %d bytes)", ErrFormat, s.number, err, MaxLine)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := s.parse(line, op); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrFormat, s.number, err)
		}
		return nil
	}
}

// parseText reads "G key [value_bytes]", "U key [value_bytes]" or "D key".
func parseText(line []byte, op *Op) error {
	kind, rest, _ := bytes.Cut(line, []byte(" "))
	key, size, hasSize := bytes.Cut(rest, []byte(" "))
	switch string(kind) {
	case "G":
		op.Kind = Get
	case "U":
		op.Kind = Update
	case "D":
		op.Kind = Delete
	default:
		return fmt.Errorf("operation %.20q: want G, U or D", kind)
	}
	op.ValueBytes = NoSize
	if hasSize {
		n, err := parseSize(size)
		if err != nil {
			return err
		}
		op.ValueBytes = n
	}
	return setKey(op, key)
}

// parseTwitter reads a line of a Twitter cache trace.
func parseTwitter(line []byte, op *Op) error {
	var fields [7][]byte
	// Keys may hold commas; the fields around them do not.
	_, rest, ok := bytes.Cut(line, []byte(","))
	for i := 6; i >= 2 && ok; i-- {
		cut := bytes.LastIndexByte(rest, ',')
		if ok = cut >= 0; ok {
			fields[i], rest = rest[cut+1:], rest[:cut]
		}
	}
	if !ok {
		return errors.New("want timestamp,key,key size,value size,client,operation,TTL")
	}
	n, err := parseSize(fields[3])
	if err != nil {
		return err
	}
	op.ValueBytes = n
	switch string(fields[5]) {
	case "get", "gets":
		op.Kind = Get
	case "set", "add", "replace", "cas", "append", "prepend", "incr", "decr":
		op.Kind = Update
	case "delete":
		op.Kind = Delete
	default:
		return fmt.Errorf("operation %.20q: want get, gets, set, add, replace, cas, append, prepend, incr, decr or delete", fields[5])
	}
	return setKey(op, rest)
}

func setKey(op *Op, key []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes: want 1 to %d", len(key), MaxKey)
	}
	op.Key = key
	return nil
}

func parseSize(b []byte) (int, error) {
	n, err := strconv.ParseUint(string(b), 10, 31)
	if err != nil || n > MaxValue {
		return 0, fmt.Errorf("value size %.20q: want 0 to %d", b, MaxValue)
	}
	return int(n), nil
}
