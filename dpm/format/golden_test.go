package format

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/golden.txt anew")

func testLayout(t testing.TB) Layout {
	t.Helper()
	l, err := NewLayout(Shape{SegmentBytes: MinSegmentBytes, Segments: 10, MetadataRecords: 2,
		MetadataSlotBytes: 1024, Ranks: 4, IndirectWords: 16, FilterBytes: 128}, 0xfeedbeef)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// goldenRecords are one example of every durable layout.
func goldenRecords(t testing.TB) (names []string, records map[string][]byte) {
	l := testLayout(t)
	records = map[string][]byte{}
	add := func(name string, b []byte) {
		names = append(names, name)
		records[name] = b
	}
	s := Superblock{PoolID: [16]byte{1, 2, 3, 15: 16}, Created: 1750000000, Durability: 3, Layout: l}
	var page [SuperblockBytes]byte
	s.Encode(&page)
	add("superblock", page[:])

	var root [RootBytes]byte
	r := Root{Sequence: 5, Table: 9, BucketsLog2: 11, Extents: 2, Directory: 1, DirectoryCRC: 0}
	directory := make([]byte, 8)
	r.DirectoryCRC = EncodeDirectory(l.Salt, directory, []SegmentID{3, 7})
	r.Encode(l.Salt, &root)
	add("root", root[:])
	add("directory", directory)
	add("server epoch", word(ServerEpochWord(12)))

	m := Metadata{Name: "ownership", Version: 4, Blob: []byte("blob bytes")}
	slot := make([]byte, MetadataBytes(len(m.Blob)))
	EncodeMetadata(l.Salt, slot, &m)
	add("metadata slot", slot)

	rank := RankEntry{Lease: 77, State: RankHeld, Incarnation: 3, Identity: 0xabcdef012345, Process: 4242, ProcessStart: 987654}
	var rankBytes [RankEntryBytes]byte
	rank.Encode(&rankBytes)
	add("rank", rankBytes[:])

	h := SegmentHeader{SegmentIdentity: SegmentIdentity{SegmentSealed, SegmentLog, 5, 2}, Generation: 1025, Order: 6,
		Incarnation: 3, Merged: 4096, Sealed: 65000, Table: 0, Settled: 100001}
	var header [SegmentHeaderBytes]byte
	h.Encode(&header)
	add("segment header", header[:])

	b := Bucket{Tag: 9, Hash: [3]uint64{1, 0x1122334455667788}, Overflow: 0x30040,
		Pointer: [3]Pointer{PackPointer(0x30000, 100, 1025), PackIndirect(l.IndirectOffsetOf(3))}}
	var bucket [BucketBytes]byte
	b.Encode(&bucket)
	add("bucket", bucket[:])
	add("moved bucket header", word(BucketHeaderWord(9, BucketMoved)))

	for _, e := range goldenEntries() {
		buf := make([]byte, e.Bytes())
		l.Salt.EncodeEntry(buf, &e)
		add("entry "+e.Op.String(), buf)
	}
	return names, records
}

func goldenEntries() []Entry {
	return []Entry{
		{Op: OpPut, Lattice: 1, Flags: CodecS2 | FlagReplicated, Sequence: 100001, Generation: 1025, RawLength: 300, Key: []byte("key"), Value: []byte("a value")},
		{Op: OpDelete, Lattice: 1, Sequence: 100002, Generation: 1025, Key: []byte("key")},
		{Op: OpInstall, Sequence: 100003, Generation: 1, Key: []byte("hot"), Value: word(uint64(PackIndirect(0x5000)))},
	}
}

func word(w uint64) []byte {
	b := make([]byte, 8)
	put64(b, w)
	return b
}

// The bytes are the contract: a change here is a new format version.
func TestGolden(t *testing.T) {
	names, records := goldenRecords(t)
	var text strings.Builder
	for _, name := range names {
		fmt.Fprintf(&text, "%s, %d bytes\n%s\n", name, len(records[name]), hexDump(records[name]))
	}
	const path = "testdata/golden.txt"
	if *rewrite {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("layouts differ from %s (a new format version? then -rewrite); they are now:\n%s", path, text.String())
	}
}

// hexDump shows the lines of 16 bytes that are not all zero.
func hexDump(b []byte) string {
	var s strings.Builder
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if len(bytes.Trim(line, "\x00")) > 0 {
			fmt.Fprintf(&s, "  %04x  %s\n", at, hex.EncodeToString(line))
		}
	}
	return s.String()
}
