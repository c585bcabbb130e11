package backup

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func keyHash(key string) uint64 { return index.KeyHash([]byte(key)) }

// smallArchive is an archive of several frames, and where they begin.
func smallArchive(t testing.TB) (archive []byte, frames []int) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, &Header{PoolID: [16]byte{1, 2, 3}, Created: 1_700_000_000, ServerEpoch: 4, Shape: fullShape(), Live: true})
	for i := 0; i < 40 && err == nil; i++ {
		value := []byte(dpmtest.Value(i, 50))
		err = w.Put(&format.Entry{Op: format.OpPut, Lattice: 1, Key: fmt.Appendf(nil, "key%d", i), Value: value, RawLength: uint32(len(value))})
		if i%15 == 14 && err == nil {
			frames = append(frames, b.Len())
			err = w.flush()
		}
	}
	if err == nil {
		err = w.Metadata("ownership", 7, []byte("a map"))
	}
	frames = append(frames, b.Len())
	if err == nil {
		err = w.Close(0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), append(frames, b.Len()-frameHeaderBytes-endBytes)
}

func fullShape() format.Shape {
	s := dpmtest.SmallShape(20)
	s.EnsureDefaults()
	return s
}

// Whatever byte is changed, wherever the archive is cut, whatever follows it: it is refused, and no pool comes of it.
func TestDamagedArchives(t *testing.T) {
	rng := random.New(random.Seed(t))
	sound, frames := smallArchive(t)
	if s, err := Check(t.Context(), bytes.NewReader(sound)); err != nil || s.Keys != 40 || fmt.Sprint(s.Left) != "[ownership]" {
		t.Fatalf("%+v, %v", s, err)
	}
	refused := func(what string, b []byte, want ...error) {
		t.Helper()
		_, err := Check(t.Context(), bytes.NewReader(b))
		for _, e := range want {
			if errors.Is(err, e) {
				return
			}
		}
		t.Errorf("%s: %v, want one of %v", what, err, want)
	}
	for i := range sound {
		b := bytes.Clone(sound)
		b[i] ^= 1 << rng.IntN(8)
		refused(fmt.Sprintf("byte %d of %d changed", i, len(sound)), b, ErrDamaged, ErrForeign, ErrVersion)
	}
	for n := range sound {
		refused(fmt.Sprintf("cut to %d of %d bytes", n, len(sound)), sound[:n], ErrTruncated, ErrForeign)
	}
	refused("a byte too much", append(bytes.Clone(sound), 0), ErrDamaged)
	refused("twice", append(bytes.Clone(sound), sound...), ErrDamaged)
	frame := func(n int) []byte { return sound[frames[n]:frames[n+1]] }
	refused("without a frame", append(bytes.Clone(sound[:frames[1]]), sound[frames[2]:]...), ErrDamaged)
	refused("frames swapped", bytes.Join([][]byte{sound[:frames[0]], frame(1), frame(0), sound[frames[2]:]}, nil), ErrDamaged)
	refused("a frame twice", bytes.Join([][]byte{sound[:frames[1]], frame(0), sound[frames[1]:]}, nil), ErrDamaged)
}

func TestFailedRestoreLeavesNothing(t *testing.T) {
	sound, _ := smallArchive(t)
	damaged := bytes.Clone(sound)
	damaged[len(damaged)/2] ^= 4
	big := dpm.Options{Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 7}} // fits, barely
	for what, o := range map[string]RestoreOptions{
		"damaged":         {Archive: bytes.NewReader(damaged)},
		"truncated":       {Archive: bytes.NewReader(sound[:len(sound)-1])},
		"unreadable":      {Archive: io.MultiReader(bytes.NewReader(sound[:len(sound)/2]), failing{})},
		"no archive":      {Archive: strings.NewReader("something else")},
		"too small":       {Archive: bytes.NewReader(hugeArchive(t)), Pool: big},
		"impossible pool": {Archive: bytes.NewReader(sound), Pool: dpm.Options{Shape: format.Shape{SegmentBytes: 3}}},
	} {
		dir := t.TempDir()
		o.Pool.Path, o.Pool.Sparse = filepath.Join(dir, "pool"), true
		_, err := Restore(t.Context(), o)
		if err == nil {
			t.Errorf("%s: restored", what)
		}
		if what == "too small" && !errors.Is(err, dpm.ErrNoSpace) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %v is left behind", what, left)
		}
	}
	path := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), RestoreOptions{Archive: bytes.NewReader(sound), Pool: dpm.Options{Path: path}}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over something: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

// hugeArchive is more than a pool of 7 segments of 64 KiB holds.
func hugeArchive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, &Header{Shape: fullShape()})
	for i := 0; i < 200 && err == nil; i++ {
		err = w.Put(&format.Entry{Op: format.OpPut, Lattice: 1, Key: fmt.Appendf(nil, "key%d", i), Value: make([]byte, 5000), RawLength: 5000})
	}
	if err == nil {
		err = w.Close(0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

// A damaged pool is not backed up as if it were whole: the address is named, or the entry is left out and counted.
func TestBackupOfADamagedPool(t *testing.T) {
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(60)})
	want := fill(t, r)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := look.Open(look.Options{Path: r.Path})
	if err != nil {
		t.Fatal(err)
	}
	var c look.Chain
	slot, err := p.Find([]byte("b7"), &c)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(slot.Pointer.Offset()) + 50
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(r.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xee}, at); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	var damage look.Damage
	if _, err := Write(t.Context(), Options{Path: r.Path, Out: &b}); !errors.Is(err, format.ErrDamaged) || !errors.As(err, &damage) {
		t.Fatalf("a damaged pool: %v", err)
	} else if damage.Offset != slot.Pointer.Offset() {
		t.Errorf("damage at %#x is reported at %#x", slot.Pointer.Offset(), damage.Offset)
	}
	b.Reset()
	s, err := Write(t.Context(), Options{Path: r.Path, Out: &b, SkipDamaged: true})
	if err != nil || s.SkippedCount != 1 || s.Keys != uint64(len(want)-1) {
		t.Errorf("%+v, %v", s, err)
	}
	rs, err := Check(t.Context(), &b)
	if err != nil || rs.Skipped != 1 {
		t.Errorf("%+v, %v", rs, err)
	}
}

func TestWriteFile(t *testing.T) {
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(20)})
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	for _, want := range []error{nil, os.ErrExist} {
		if _, err := WriteFile(t.Context(), Options{Path: r.Path}, path); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if _, err := WriteFile(t.Context(), Options{Path: filepath.Join(dir, "absent")}, path+"2"); err == nil {
		t.Error("a pool that is not there was backed up")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// The format does not change by accident.
func TestGoldenArchive(t *testing.T) {
	b, _ := smallArchive(t)
	const header = "44494e4f4d4f424b01000000"
	if got := hex.EncodeToString(b[:12]); got != header {
		t.Errorf("begins with %s", got)
	}
	golden, err := os.ReadFile("testdata/archive.hex")
	if err != nil {
		t.Fatal(err)
	}
	// The compressor's choices may change with its version, so an old archive must be readable, not be written again.
	old, err := hex.DecodeString(strings.TrimSpace(string(golden)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Check(t.Context(), bytes.NewReader(old))
	if err != nil || s.Keys != 40 || s.Bytes != 2190 || s.Header.Shape != fullShape() || !s.Header.Live || s.Header.ServerEpoch != 4 {
		t.Errorf("%+v, %v", s, err)
	}
}

func FuzzReader(f *testing.F) {
	b, frames := smallArchive(f)
	f.Add(b)
	f.Add(b[:frames[1]])
	f.Add(b[:headerBytes])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		for {
			rec, err := r.Next()
			if err != nil {
				return
			}
			if rec.Name == "" && (len(rec.Entry.Key) == 0 || rec.Entry.Op != format.OpPut) {
				t.Errorf("accepted %+v", rec)
			}
		}
	})
}

// FuzzFrame fuzzes what lies behind a frame's checksum.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{recordPut, 1, 0, 1, 2, 2, 'k', 'v', 'w'}, uint32(1))
	f.Add([]byte{recordMetadata, 7, 1, 2, 'n', 'b', 'c'}, uint32(1))
	f.Fuzz(func(t *testing.T, raw []byte, count uint32) {
		var b bytes.Buffer
		w, err := NewWriter(&b, &Header{Shape: fullShape()})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.frame(frameData, len(raw), raw, count); err != nil {
			t.Fatal(err)
		}
		s, err := Check(t.Context(), &b)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
