package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"reflect"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// decoders reads back each golden record; they must accept it, and refuse it with any bit flipped.
func decoders(t testing.TB) map[string]func([]byte) error {
	l := testLayout(t)
	p := func(b []byte) Pointer { return PackPointer(0x30000, uint64(len(b)), le32(b[24:])) }
	checked := func(role Role) func([]byte) error {
		return func(b []byte) error {
			if _, ok := OpenWord(role, le64(b)); !ok {
				return ErrDamaged
			}
			return nil
		}
	}
	entry := func(b []byte) error { return l.Salt.DecodeEntry(b, new(Entry)) }
	return map[string]func([]byte) error{
		"superblock": func(b []byte) error { _, err := DecodeSuperblock(b, l.TotalBytes); return err },
		"root":       func(b []byte) error { return DecodeRoot((*[RootBytes]byte)(b), &l, new(Root)) },
		"directory": func(b []byte) error {
			crc := EncodeDirectory(l.Salt, make([]byte, 8), []SegmentID{3, 7})
			_, err := DecodeDirectory(b, &l, &Root{Extents: 2, DirectoryCRC: crc}, nil)
			return err
		},
		"server epoch":   checked(RoleServerEpoch),
		"metadata slot":  func(b []byte) error { return DecodeMetadata(l.Salt, b, new(Metadata)) },
		"segment header": func(b []byte) error { return DecodeSegmentHeader((*[64]byte)(b), 0, new(SegmentHeader)) },
		"rank": func(b []byte) error {
			return DecodeRankEntry((*[64]byte)(b), 0, new(RankEntry))
		},
		"bucket":              func(b []byte) error { return DecodeBucket((*[64]byte)(b), 0, new(Bucket)) },
		"moved bucket header": checked(RoleBucketHeader),
		"entry put":           func(b []byte) error { return l.Salt.CheckEntry(b, p(b), []byte("key"), new(Entry)) },
		"entry delete":        entry,
		"entry install":       entry,
	}
}

// unchecked says which bytes of a record no decoder of it checks, and why.
func unchecked(name string, at int) bool {
	switch name {
	case "rank":
		return at < 8 || at >= 40 // the lease word means nothing but that it changed; reserved
	case "bucket":
		return at >= 8 && at < 56 // slots prove themselves against their entries
	case "metadata slot":
		return at >= MetadataHeaderBytes+len("blob bytes") // padding
	}
	return false
}

func TestFlippedBitsAreFound(t *testing.T) {
	names, records := goldenRecords(t)
	decode := decoders(t)
	for _, name := range names {
		record := bytes.Clone(records[name])
		if err := decode[name](record); err != nil {
			t.Errorf("%s: sound record refused: %v", name, err)
		}
		for bit := range 8 * len(record) {
			if unchecked(name, bit/8) {
				continue
			}
			record[bit/8] ^= 1 << (bit % 8)
			if decode[name](record) == nil {
				t.Errorf("%s: flipped bit %d of byte %d goes unnoticed", name, bit%8, bit/8)
			}
			record[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// Every flip of up to three bits in a checked word is found, and a word is never one of another role.
func TestCheckedWord(t *testing.T) {
	rng := random.New(random.Seed(t))
	for range 200 {
		payload := rng.Uint64() & MaxPayload >> (rng.IntN(47))
		sealed := SealWord(RoleSegmentMerged, payload)
		if got, ok := OpenWord(RoleSegmentMerged, sealed); !ok || got != payload {
			t.Fatalf("payload %#x comes back as %#x, %v", payload, got, ok)
		}
		if _, ok := OpenWord(RoleSegmentSealed, sealed); ok && payload != 0 {
			t.Fatalf("payload %#x passes under another role", payload)
		}
		for i := range 64 {
			for j := i; j < 64; j++ {
				flips := uint64(1)<<i | 1<<j | 1<<rng.IntN(64)
				if _, ok := OpenWord(RoleSegmentMerged, sealed^flips); ok {
					t.Fatalf("payload %#x with flips %#x (%d bits) passes", payload, flips, bits.OnesCount64(flips))
				}
			}
		}
	}
	if word := SealWord(RoleRankState, 0); word != 0 {
		t.Errorf("payload 0 is %#x, want 0", word)
	}
}

func TestPointer(t *testing.T) {
	rng := random.New(random.Seed(t))
	for range 10000 {
		offset := (rng.Uint64N(MaxPoolBytes/8-1) + 1) * 8
		size := rng.Uint64N(MaxSizeUnits*SizeUnit) + 1
		generation := rng.Uint32()
		p := PackPointer(offset, size, generation)
		if p.Offset() != offset || p.Units() != EntryUnits(size) || !p.MadeFor(size, generation) || p.Generation() != generation%1024 || p.Indirect() || p.invalid() != "" {
			t.Fatalf("PackPointer(%#x, %d, %d) = %v", offset, size, generation, p)
		}
		if p := PackIndirect(offset); !p.Indirect() || p.Offset() != offset || p.invalid() != "" {
			t.Fatalf("PackIndirect(%#x) = %v", offset, p)
		}
	}
	for want, p := range map[string]Pointer{
		"nil": 0, "0x30000+128.g1": PackPointer(0x30000, 100, 1025), "indirect@0x5000": PackIndirect(0x5000),
	} {
		if p.String() != want {
			t.Errorf("%#x shows as %s, want %s", uint64(p), p, want)
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	l := testLayout(t)
	rng := random.New(random.Seed(t))
	buf := make([]byte, 4096)
	for range 2000 {
		e := Entry{Op: Op(1 + rng.IntN(int(opEnd)-1)), Lattice: uint8(rng.Uint32()), Flags: Flags(rng.IntN(3)) | FlagReplicated*Flags(rng.IntN(2)),
			Sequence: rng.Uint64(), Generation: rng.Uint32(), RawLength: rng.Uint32(),
			Key: make([]byte, 1+rng.IntN(100)), Value: make([]byte, rng.IntN(1000))}
		rand8(rng.Uint64, e.Key)
		rand8(rng.Uint64, e.Value)
		rand8(rng.Uint64, buf)
		n := l.Salt.EncodeEntry(buf, &e)
		if e.Flags.Codec() == CodecNone {
			e.RawLength = uint32(len(e.Value))
		}
		var got Entry
		if err := l.Salt.DecodeEntry(buf, &got); err != nil || n != got.Bytes() {
			t.Fatalf("decode: %v", err)
		}
		if !reflect.DeepEqual(e, got) && len(e.Value) > 0 {
			t.Fatalf("got %+v, want %+v", got, e)
		}
		p := PackPointer(0x30000, n, e.Generation)
		if err := l.Salt.CheckEntry(buf[:min(int(p.Size()), len(buf))], p, e.Key, &got); err != nil {
			t.Fatalf("check: %v", err)
		}
		for name, other := range map[string]Pointer{
			"generation": PackPointer(0x30000, n, e.Generation+1), "size": PackPointer(0x30000, n+SizeUnit, e.Generation),
		} { // e is short of 127 units, where sizes are exact
			if err := l.Salt.CheckEntry(buf, other, e.Key, &got); err != ErrOtherEntry {
				t.Fatalf("other %s: %v", name, err)
			}
		}
		if err := l.Salt.CheckEntry(buf, p, append(e.Key, 'x'), &got); err != ErrOtherEntry {
			t.Fatalf("other key: %v", err)
		}
	}
}

func rand8(next func() uint64, b []byte) {
	for i := range b {
		b[i] = byte(next() >> 32)
	}
}

// A client that knows the format but not the salt cannot spell an entry in a value.
func TestSpelledEntryIsRefused(t *testing.T) {
	l := testLayout(t)
	forged := make([]byte, 128)
	guess := Salt(0)
	e := Entry{Op: OpPut, Sequence: 5, Generation: 3, Key: []byte("k"), Value: []byte("forged")}
	guess.EncodeEntry(forged, &e)
	if err := l.Salt.DecodeEntry(forged, new(Entry)); !errors.Is(err, ErrEntryDamaged) {
		t.Errorf("forged entry: %v", err)
	}
}

func TestEntryDoesNotAllocate(t *testing.T) {
	l := testLayout(t)
	e := Entry{Op: OpPut, Sequence: 5, Generation: 3, Key: []byte("key"), Value: make([]byte, 1000)}
	buf := make([]byte, e.Bytes())
	p := PackPointer(0x30000, e.Bytes(), 3)
	var got Entry
	if n := testing.AllocsPerRun(100, func() {
		l.Salt.EncodeEntry(buf, &e)
		if l.Salt.CheckEntry(buf, p, e.Key, &got) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSuperblockRefusals(t *testing.T) {
	_, records := goldenRecords(t)
	l := testLayout(t)
	resum := func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[12:], superblockChecksum((*[SuperblockBytes]byte)(b)))
		return b
	}
	edit := func(at int, v byte) []byte {
		b := bytes.Clone(records["superblock"])
		b[at] = v
		return b
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		file  uint64
		want  error
	}{
		{"sound", records["superblock"], l.TotalBytes, nil},
		{"longer file", records["superblock"], l.TotalBytes + 4096, nil},
		{"empty", nil, 0, ErrForeign},
		{"zeros", make([]byte, 4096), l.TotalBytes, ErrForeign},
		{"text", []byte(strings.Repeat("hello ", 1000)), l.TotalBytes, ErrForeign},
		{"other version", edit(8, 99), l.TotalBytes, ErrVersion},
		{"cut in the superblock", records["superblock"][:1000], 1000, ErrTruncated},
		{"cut later", records["superblock"], l.TotalBytes - 1, ErrTruncated},
		{"flipped bit", edit(33, 0xff), l.TotalBytes, ErrSuperblock},
		{"other segment count", resum(edit(64, 11)), l.TotalBytes, ErrSuperblock},
		{"no segments", resum(edit(64, 0)), l.TotalBytes, ErrSuperblock},
		{"moved area", resum(edit(97, 0x77)), l.TotalBytes, ErrSuperblock},
	} {
		if _, err := DecodeSuperblock(c.bytes, c.file); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	s, err := DecodeSuperblock(records["superblock"], l.TotalBytes)
	if err != nil || s.Layout != l || s.Created != 1750000000 || s.Durability != 3 || s.PoolID != [16]byte{1, 2, 3, 15: 16} {
		t.Errorf("superblock comes back as %+v, %v", s, err)
	}
}

func TestLayout(t *testing.T) {
	var defaults Shape
	defaults.Segments = 100
	l, err := NewLayout(defaults, 1)
	if err != nil {
		t.Fatal(err)
	}
	if l.SegmentsOffset%l.SegmentBytes != 0 || l.TotalBytes != l.SegmentsOffset+100*8<<20 {
		t.Errorf("layout %+v", l)
	}
	for _, offset := range l.offsets() {
		if offset%PageBytes != 0 {
			t.Errorf("area at %#x is not page-aligned", offset)
		}
	}
	for id := range SegmentID(100) {
		first := l.SegmentOffset(id)
		for _, offset := range []uint64{first, first + 1, first + l.SegmentBytes - 1} {
			if got, ok := l.SegmentOf(offset); !ok || got != id {
				t.Errorf("offset %#x is in segment %d, %v; want %d", offset, got, ok, id)
			}
		}
	}
	for _, total := range []uint64{0, 1 << 20, 40 << 20, 100 << 20, 1 << 30, 24 << 30, 600 << 30} {
		n := SegmentsFor(Shape{}, total)
		fits := func(n uint32) bool {
			l, err := NewLayout(Shape{Segments: n}, 0)
			return err == nil && l.TotalBytes <= total
		}
		if n != 0 && !fits(n) || fits(max(n+1, 2)) {
			t.Errorf("%d segments for %d bytes", n, total)
		}
	}
}

func TestEntryRange(t *testing.T) {
	l := testLayout(t)
	end := l.SegmentOffset(4) + l.SegmentBytes
	for _, c := range []struct {
		p      Pointer
		length uint64 // 0: refused
	}{
		{PackPointer(l.SegmentOffset(4), 100, 1), 128},
		{PackPointer(end-104, 104, 1), 104},
		{PackPointer(end-104, 128, 1), 104},
		{PackPointer(end-104, 300, 1), 0},
		{PackPointer(l.TotalBytes-64, 64, 1), 64},
		{PackPointer(l.SegmentsOffset-64, 64, 1), 0},
		{PackPointer(l.TotalBytes, 64, 1), 0},
		{PackIndirect(l.IndirectOffsetOf(1)), 0},
		{0, 0},
	} {
		if _, length, ok := l.EntryRange(c.p); length != c.length || ok != (c.length > 0) {
			t.Errorf("%v: %d, %v; want %d", c.p, length, ok, c.length)
		}
	}
	if i, ok := l.IndirectOf(PackIndirect(l.IndirectOffsetOf(5))); !ok || i != 5 {
		t.Errorf("indirect word %d, %v", i, ok)
	}
	for _, p := range []Pointer{0, PackIndirect(l.IndirectOffset + 16*8), PackIndirect(8), PackPointer(l.IndirectOffset, 64, 0)} {
		if _, ok := l.IndirectOf(p); ok {
			t.Errorf("%v passes for an indirect pointer", p)
		}
	}
}

func TestCurrentRoot(t *testing.T) {
	l := testLayout(t)
	root := func(sequence uint64) (b [RootBytes]byte) {
		r := Root{Sequence: sequence, Table: sequence, BucketsLog2: 10, Extents: 1}
		r.Encode(l.Salt, &b)
		return b
	}
	page := func(a, b [RootBytes]byte) []byte {
		p := make([]byte, PageBytes)
		copy(p[RootOffset(0):], a[:])
		copy(p[RootOffset(1):], b[:])
		return p
	}
	var none [RootBytes]byte
	torn := root(9)
	torn[3]++
	for _, c := range []struct {
		page  []byte
		which int
		table uint64
	}{
		{page(root(1), none), 0, 1}, {page(none, root(2)), 1, 2}, {page(root(1), root(2)), 1, 2},
		{page(root(3), root(2)), 0, 3}, {page(root(3), torn), 0, 3}, {page(torn, root(2)), 1, 2},
	} {
		if r, which, err := CurrentRoot(c.page, &l); err != nil || which != c.which || r.Table != c.table {
			t.Errorf("root %d of table %d, %v; want %d, %d", which, r.Table, err, c.which, c.table)
		}
	}
	for _, p := range [][]byte{nil, page(none, none), page(torn, none)} {
		if _, _, err := CurrentRoot(p, &l); !errors.Is(err, ErrNoRoot) {
			t.Errorf("no root: %v", err)
		}
	}
}

// BucketNumber spreads hashes, and doubling splits a bucket in two neighbours.
func TestBucketNumber(t *testing.T) {
	rng := random.New(random.Seed(t))
	var counts [1024]int
	for range 1024 * 100 {
		h := rng.Uint64()
		b := BucketNumber(h, 10)
		counts[b]++
		if BucketNumber(h, 11)>>1 != b {
			t.Fatalf("hash %#x: bucket %d of 1024, %d of 2048", h, b, BucketNumber(h, 11))
		}
	}
	for b, n := range counts {
		if n < 40 || n > 180 {
			t.Errorf("bucket %d got %d of 100 expected", b, n)
		}
	}
	if BucketNumber(12345, 0) != 0 {
		t.Error("a table of one bucket has only bucket 0")
	}
}

// The filter never forgets, and at 1 bit in 16 set it errs rarely.
func TestFilter(t *testing.T) {
	rng := random.New(random.Seed(t))
	const filterBytes = 1 << 16
	filter := make([]uint64, filterBytes/8)
	var keys []uint64
	for range 8192 {
		h := rng.Uint64()
		keys = append(keys, h)
		at, set := FilterWord(h, filterBytes)
		filter[at/8] |= set
	}
	for _, h := range keys {
		if at, set := FilterWord(h, filterBytes); filter[at/8]&set != set {
			t.Fatalf("hash %#x is forgotten", h)
		}
	}
	wrong := 0
	for range 100000 {
		if at, set := FilterWord(rng.Uint64(), filterBytes); filter[at/8]&set == set {
			wrong++
		}
	}
	if wrong > 500 {
		t.Errorf("%d of 100000 absent keys seem present", wrong)
	}
}

func TestZeroIsFreeAndSound(t *testing.T) {
	var zero [64]byte
	var h SegmentHeader
	var r RankEntry
	var b Bucket
	if err := errors.Join(DecodeSegmentHeader(&zero, 0, &h), DecodeRankEntry(&zero, 0, &r), DecodeBucket(&zero, 0, &b)); err != nil {
		t.Error(err)
	}
	if h != (SegmentHeader{}) || h.State != SegmentFree || r != (RankEntry{}) || r.State != RankFree || b != (Bucket{}) {
		t.Errorf("zero bytes are %v, %+v, %v", &h, r, &b)
	}
	if err := Salt(0).DecodeEntry(zero[:], new(Entry)); err != ErrNoEntry {
		t.Errorf("zero bytes as an entry: %v", err)
	}
}

func TestDamagedSegmentHeaderNamesTheWord(t *testing.T) {
	_, records := goldenRecords(t)
	b := [64]byte(records["segment header"])
	b[SegmentMergedOffset] ^= 4
	var h SegmentHeader
	err := DecodeSegmentHeader(&b, 0x8000, &h)
	var word *WordError
	if !errors.As(err, &word) || word.Offset != 0x8000+SegmentMergedOffset || !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if h.Generation != 1025 || h.Merged != 0 {
		t.Errorf("the sound words are not there: %v", &h)
	}
}

// A word 0 is sound under every role, so every role's other words must be four flips away from it.
func TestRolesKeepTheirDistance(t *testing.T) {
	var flips []uint16 // what each bit of a word does to the check
	for i := range PayloadBits {
		flips = append(flips, wordCheck(0, 1<<i))
	}
	for i := range 16 {
		flips = append(flips, 1<<i)
	}
	near := map[uint16]bool{0: true}
	for _, a := range flips {
		for _, b := range flips {
			for _, c := range flips {
				near[a], near[a^b], near[a^b^c] = true, true, true
			}
		}
	}
	roles := map[Role]bool{}
	for _, role := range []Role{RoleSegmentState, RoleSegmentGeneration, RoleSegmentOrder, RoleSegmentIncarnation, RoleSegmentMerged,
		RoleSegmentSealed, RoleSegmentTable, RoleSegmentSettled, RoleRankState, RoleRankIdentity, RoleRankProcess, RoleRankStart,
		RoleBucketHeader, RoleBucketOverflow, RoleServerEpoch} {
		if near[uint16(role)] || roles[role] {
			t.Errorf("role %#x is too near to 0, or taken", uint16(role))
		}
		roles[role] = true
	}
}

// The tables' checks equal those of the bit-by-bit definition.
func TestCRC16AgainstDefinition(t *testing.T) {
	rng := random.New(random.Seed(t))
	for range 1000 {
		payload := rng.Uint64() & MaxPayload
		crc := uint16(0)
		for at := 5; at >= 0; at-- {
			crc ^= uint16(byte(payload>>(8*at))) << 8
			for range 8 {
				crc = crcShift(crc)
			}
		}
		if got := wordCheck(0, payload); got != crc {
			t.Fatalf("check of %#x is %#x, want %#x", payload, got, crc)
		}
	}
}

func BenchmarkCheckedWord(b *testing.B) {
	var sum uint64
	for i := range b.N {
		sum += SealWord(RoleSegmentMerged, uint64(i))
	}
	_ = sum
}

func BenchmarkCheckEntry(b *testing.B) {
	for _, size := range []int{64, 1024, 16384} {
		b.Run(strings.TrimSpace("value="+itoa(size)), func(b *testing.B) {
			e := Entry{Op: OpPut, Sequence: 5, Generation: 3, Key: []byte("user123456"), Value: make([]byte, size)}
			buf := make([]byte, e.Bytes())
			Salt(7).EncodeEntry(buf, &e)
			p := PackPointer(0x30000, e.Bytes(), 3)
			b.SetBytes(int64(e.Bytes()))
			b.ReportAllocs()
			var got Entry
			for range b.N {
				if err := Salt(7).CheckEntry(buf, p, e.Key, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func itoa(n int) string {
	if n >= 1024 {
		return string(rune('0'+n/1024%10)) + "Ki"
	}
	return string(rune('0'+n/10)) + string(rune('0'+n%10))
}

// seeds adds all golden records to a fuzz target.
func seeds(f *testing.F) {
	names, records := goldenRecords(f)
	for _, name := range names {
		f.Add(records[name])
	}
	f.Add([]byte{})
	f.Add(make([]byte, 4096))
}

func fixed[A interface{ ~[64]byte }](b []byte) *A {
	var a A
	copy(a[:], b)
	return &a
}

// Decoders must not panic; what they accept must encode to what was decoded.
func FuzzDecodeEntry(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		// Give the checksum away, so that the checks behind it are reached.
		if n, err := EntryBytesAt(b); err == nil && n <= uint64(len(b)) {
			b = bytes.Clone(b)
			put32(b[28:], Salt(9).entryChecksum(b[:n], le32(b[24:])))
		}
		key, generation, size, peekErr := PeekKey(b)
		var e Entry
		if Salt(9).DecodeEntry(b, &e) != nil {
			return
		}
		if peekErr != nil || !bytes.Equal(key, e.Key) || generation != e.Generation || size != e.Bytes() {
			t.Errorf("%x: peeked %x, generation %d, %d bytes, %v; decoded %+v", b, key, generation, size, peekErr, e)
		}
		again := make([]byte, e.Bytes())
		Salt(9).EncodeEntry(again, &e)
		if len(bytes.TrimRight(b[EntryHeaderBytes+len(e.Key)+len(e.Value):e.Bytes()], "\x00")) == 0 && !bytes.Equal(again, b[:e.Bytes()]) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b[:e.Bytes()], e, again)
		}
	})
}

func FuzzDecodeSuperblock(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= SuperblockBytes {
			b = bytes.Clone(b)
			copy(b, superblockMagic[:])
			put32(b[8:], Version)
			put32(b[12:], superblockChecksum((*[SuperblockBytes]byte)(b)))
		}
		s, err := DecodeSuperblock(b, 1<<62)
		if err == nil && (s.Layout.TotalBytes > MaxPoolBytes || s.Layout.Segments == 0) {
			t.Errorf("accepted %+v", s)
		}
	})
}

func FuzzDecodeMetadata(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= MetadataHeaderBytes {
			b = bytes.Clone(b)
			put32(b, metadataMagic)
			if end := MetadataHeaderBytes + uint64(le32(b[16:])); end <= uint64(len(b)) {
				put32(b[4:], crc32.Update(Salt(9).seed(3), castagnoli, b[8:end]))
			}
		}
		var m Metadata
		if DecodeMetadata(9, b, &m) != nil {
			return
		}
		again := make([]byte, MetadataBytes(len(m.Blob)))
		EncodeMetadata(9, again, &m)
		var twice Metadata
		if err := DecodeMetadata(9, again, &twice); err != nil || !reflect.DeepEqual(m, twice) {
			t.Errorf("%+v comes back as %+v, %v", m, twice, err)
		}
	})
}

func FuzzDecodeRoots(f *testing.F) {
	seeds(f)
	l := testLayout(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		root := fixed[[RootBytes]byte](b)
		put32(root[60:], crc32.Update(l.Salt.seed(1), castagnoli, root[:60]))
		page := make([]byte, PageBytes)
		copy(page, root[:])
		r, _, err := CurrentRoot(page, &l)
		if err != nil {
			return
		}
		r.DirectoryCRC = crc32.Update(l.Salt.seed(2), castagnoli, b[:min(len(b), int(r.Extents)*4)])
		ids, err := DecodeDirectory(b, &l, &r, nil)
		if err == nil && (len(ids) != int(r.Extents) || uint32(ids[0]) >= l.Segments) {
			t.Errorf("root %+v, directory %v", r, ids)
		}
	})
}

func FuzzDecodeWords(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h SegmentHeader
		if in := fixed[[64]byte](b); DecodeSegmentHeader(in, 0, &h) == nil {
			var out [64]byte
			if h.Encode(&out); out != *in {
				t.Errorf("segment header %x encodes to %x", in, out)
			}
		}
		var k Bucket
		if in := fixed[[64]byte](b); DecodeBucket(in, 0, &k) == nil {
			var out [64]byte
			if k.Encode(&out); out != *in {
				t.Errorf("bucket %x encodes to %x", in, out)
			}
		}
		var r RankEntry
		if in := fixed[[64]byte](b); DecodeRankEntry(in, 0, &r) == nil {
			var out [64]byte
			if r.Encode(&out); !bytes.Equal(out[:40], in[:40]) {
				t.Errorf("rank %x encodes to %x", in, out)
			}
		}
	})
}
