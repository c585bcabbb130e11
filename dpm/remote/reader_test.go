package remote

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// memoryQP serves READs from bytes and calls from a function: a pool as a test makes it up.
type memoryQP struct {
	fabric.QP
	memory []byte
	answer func(*call.Request) call.Reply
}

func (q *memoryQP) Post(verbs []fabric.Verb) error {
	done, failed := fabric.Prefix(verbs, uint64(len(q.memory)), fabric.ReadWrite)
	for i := range verbs[:done] {
		if v := &verbs[i]; v.Kind == fabric.Read {
			copy(v.Buffer, q.memory[v.Address:])
		}
	}
	return fabric.Settle(verbs, done, failed)
}

func (q *memoryQP) Call(request, reply []byte) ([]byte, error) {
	var r call.Request
	if err := call.DecodeRequest(request, &r); err != nil {
		return nil, err
	}
	a := q.answer(&r)
	return call.AppendReply(reply[:0], &a), nil
}

// madeUp is a pool of two segments: segment 0 holds the index, segment 1 entries.
type madeUp struct {
	layout format.Layout
	table  *index.Table
	qp     *memoryQP
	used   uint64
	reader *Reader
}

func newMadeUp(t testing.TB) *madeUp {
	t.Helper()
	l, err := format.NewLayout(format.Shape{SegmentBytes: 64 << 10, Segments: 2, MetadataSlotBytes: 512, MetadataRecords: 1, Ranks: 2, IndirectWords: 8, FilterBytes: 64}, 7)
	if err != nil {
		t.Fatal(err)
	}
	m := &madeUp{layout: l}
	root := format.Root{Sequence: 1, Table: 1, BucketsLog2: 10, Extents: 1}
	directory := make([]byte, 4)
	root.DirectoryCRC = format.EncodeDirectory(l.Salt, directory, []format.SegmentID{0})
	if m.table, err = index.NewTable(&m.layout, root, directory); err != nil {
		t.Fatal(err)
	}
	m.qp = &memoryQP{memory: make([]byte, l.TotalBytes), answer: func(r *call.Request) call.Reply {
		return call.Reply{Op: r.Op, Table: 1, Bytes: m.table.AppendTo(nil)}
	}}
	m.reader = newReader(&m.layout, &caller{qp: m.qp})
	empty := format.Bucket{Tag: root.Tag()}
	for b := range m.table.Buckets() {
		m.bucket(m.layout.BucketOffset(m.table.Extents, b), empty)
	}
	return m
}

func (m *madeUp) bucket(at uint64, b format.Bucket) {
	b.Encode((*[format.BucketBytes]byte)(m.qp.memory[at : at+format.BucketBytes]))
}

func (m *madeUp) entry(key, value string) format.Pointer {
	e := format.Entry{Op: format.OpPut, Generation: 3, Sequence: 1, Key: []byte(key), Value: []byte(value)}
	at := m.layout.SegmentOffset(1) + m.used
	m.used += m.layout.Salt.EncodeEntry(m.qp.memory[at:], &e)
	return format.PackPointer(at, e.Bytes(), 3)
}

// TestTwoKeysOfOneHashBothLive cannot use a pool, whose hash has no known collisions: it makes the index up.
func TestTwoKeysOfOneHashBothLive(t *testing.T) {
	m := newMadeUp(t)
	key, other := []byte("key"), m.entry("key", "hers")
	hash := index.KeyHash(key)
	overflow := m.layout.SegmentOffset(1) + m.layout.SegmentBytes - format.BucketBytes
	first := format.Bucket{Tag: m.table.Root.Tag(), Overflow: overflow}
	first.Hash[1], first.Pointer[1] = hash, m.entry("key", "his")
	m.bucket(m.table.BucketOf(hash), first)
	second := format.Bucket{Tag: m.table.Root.Tag()}
	second.Hash[0], second.Pointer[0] = hash, other
	m.bucket(overflow, second)

	if g, err := m.reader.Get(hash, key, 0); err != nil || string(g.Value) != "his" || g.RoundTrips != 2 {
		t.Errorf("%q after %d round trips, %v", g.Value, g.RoundTrips, err)
	}
	// Now the first slot leads to another key: of the same hash, as far as the slot is concerned.
	first.Pointer[1] = m.entry("kez", "nobody's")
	m.bucket(m.table.BucketOf(hash), first)
	g, err := m.reader.Get(hash, key, 0)
	if !errors.Is(err, format.ErrDamaged) {
		t.Errorf("a slot that leads to a key of another hash: %q, %v", g.Value, err)
	}
}

func TestReaderFollowsTheChainAndEndsIt(t *testing.T) {
	m := newMadeUp(t)
	key := []byte("deep")
	hash := index.KeyHash(key)
	at := m.table.BucketOf(hash)
	next := m.layout.SegmentOffset(1) + m.layout.SegmentBytes
	for range 5 {
		next -= format.BucketBytes
		m.bucket(at, format.Bucket{Tag: m.table.Root.Tag(), Overflow: next})
		at = next
	}
	last := format.Bucket{Tag: m.table.Root.Tag()}
	last.Hash[2], last.Pointer[2] = hash, m.entry("deep", "down")
	m.bucket(at, last)
	if g, err := m.reader.Get(hash, key, 0); err != nil || string(g.Value) != "down" || g.RoundTrips != 7 {
		t.Errorf("%q after %d round trips, %v", g.Value, g.RoundTrips, err)
	}
	last.Overflow, last.Pointer[2] = next, 0 // a circle
	m.bucket(at, last)
	if _, err := m.reader.Get(hash, key, 0); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("a circular chain: %v", err)
	}
}

func TestReaderGivesUpOnAPoolThatNeverSettles(t *testing.T) {
	m := newMadeUp(t)
	key := []byte("k")
	hash := index.KeyHash(key)
	m.bucket(m.table.BucketOf(hash), format.Bucket{Tag: m.table.Root.Tag(), Flags: format.BucketMoved})
	if _, err := m.reader.Get(hash, key, 0); !errors.Is(err, ErrRetries) {
		t.Errorf("a bucket that has always moved: %v", err)
	}
	m.qp.answer = func(r *call.Request) call.Reply { return call.Reply{Op: r.Op, Table: 2, Bytes: []byte("no table")} }
	if _, err := m.reader.Get(hash, key, 0); err == nil {
		t.Error("a root that is none was believed")
	}
}

// FuzzReader reads from a pool of arbitrary bytes: it may fail as it likes, but not panic, not run for ever, and not
// hand out a value that is not in a sound entry of that key.
func FuzzReader(f *testing.F) {
	f.Add([]byte("seed"), uint64(0), uint16(100), byte(1))
	f.Add([]byte{0xd7, 1, 1, 0, 4}, uint64(1<<63|77), uint16(0), byte(2))
	m := newMadeUp(f)
	key := []byte("fuzz")
	hash := index.KeyHash(key)
	good := m.entry("fuzz", "value")
	base := bytes.Clone(m.qp.memory)
	f.Fuzz(func(t *testing.T, junk []byte, shortcut uint64, at uint16, what byte) {
		copy(m.qp.memory, base)
		b := format.Bucket{Tag: m.table.Root.Tag()}
		b.Hash[0], b.Pointer[0] = hash, good
		m.bucket(m.table.BucketOf(hash), b)
		switch what % 4 {
		case 0: // over the bucket
			copy(m.qp.memory[m.table.BucketOf(hash)+uint64(at%56):], junk)
		case 1: // over the entry
			copy(m.qp.memory[good.Offset()+uint64(at%64):], junk)
		case 2: // over the pointer words
			copy(m.qp.memory[m.layout.IndirectOffset+uint64(at%8):], junk)
		case 3: // as the root
			m.reader.forgetRoot()
			m.qp.answer = func(r *call.Request) call.Reply { return call.Reply{Op: r.Op, Table: 1, Bytes: junk} }
		}
		g, err := m.reader.Get(hash, key, format.Pointer(shortcut))
		if err == nil && string(g.Value) != "value" {
			t.Errorf("%q was handed out", g.Value)
		}
		m.qp.answer = func(r *call.Request) call.Reply {
			return call.Reply{Op: r.Op, Table: 1, Bytes: m.table.AppendTo(nil)}
		}
		m.reader.forgetRoot()
	})
}

// A key whose hash word has a flipped bit cannot be found, but neither is it said not to be there.
func TestFlippedHashIsNotAbsence(t *testing.T) {
	m := newMadeUp(t)
	key := []byte("key")
	hash := index.KeyHash(key)
	at := m.table.BucketOf(hash)
	unnoticed := 0
	for bit := range 64 {
		b := format.Bucket{Tag: m.table.Root.Tag()}
		b.Hash[1], b.Pointer[1] = hash^1<<bit, m.entry("key", "value")
		m.bucket(at, b)
		g, err := m.reader.Get(hash, key, 0)
		switch {
		case err == nil:
			t.Errorf("bit %d: %q is served", bit, g.Value)
		case errors.Is(err, ErrNotFound):
			unnoticed++
		case !errors.Is(err, format.ErrDamaged):
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	if unnoticed > 0 { // for this key and this table; in a small one a flipped hash may stay in its bucket
		t.Errorf("%d of 64 flips passed for absence", unnoticed)
	}
}
