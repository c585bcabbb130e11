package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

const (
	setLattice = 2
	hotKey     = "hot"
)

func keyHash(key string) uint64 { return index.KeyHash([]byte(key)) }

// filled makes a pool with a bit of everything: updates, deletes, several threads, another lattice type, a replicated
// key, metadata, compression. It returns what each key holds.
func filled(t *testing.T) (*dpmtest.Rig, *remote.Thread, map[string]string) {
	t.Helper()
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(40)})
	want := map[string]string{}
	a, b := r.Thread(0, remote.AppenderOptions{}), r.Thread(1, remote.AppenderOptions{Compression: remote.CompressZstd})
	for i := range 200 {
		key, value := fmt.Sprintf("a%d", i), dpmtest.Value(i, 700)
		r.Put(a, key, value)
		want[key] = value
		key, value = fmt.Sprintf("b%d", i), dpmtest.Value(1000+i, 2000)
		r.Put(b, key, value)
		want[key] = value
	}
	for i := range 100 {
		key, value := fmt.Sprintf("a%d", 2*i), dpmtest.Value(5000+i, 300)
		r.Put(a, key, value)
		want[key] = value
	}
	for i := range 20 {
		key := fmt.Sprintf("b%d", 7*i)
		r.Delete(b, key)
		delete(want, key)
	}
	for i := range 20 {
		key, value := fmt.Sprintf("set%d", i), dpmtest.Value(i, 50)
		r.Append(a, func() error {
			_, err := a.Put([]byte(key), []byte(value), setLattice, 0)
			return err
		})
		want[key] = value
	}
	r.Commit(a)
	r.Drain(a)
	r.Drain(b)
	want[hotKey] = replicate(t, r, a)
	if _, err := r.Pool.MetaCAS("test", 0, []byte("some record")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pool.MetaCAS("test", 1, []byte("the same record, changed")); err != nil {
		t.Fatal(err)
	}
	return r, a, want
}

// replicate makes hotKey a replicated key and writes it once.
func replicate(t *testing.T, r *dpmtest.Rig, th *remote.Thread) string {
	t.Helper()
	r.Put(th, hotKey, "cold")
	r.Drain(th)
	indirect, err := r.Pool.Install([]byte(hotKey))
	if err != nil {
		t.Fatal(err)
	}
	value := dpmtest.Value(77, 500)
	pointer, err := th.Put([]byte(hotKey), []byte(value), dpmtest.LWW, format.FlagReplicated)
	if err != nil {
		t.Fatal(err)
	}
	r.Commit(th)
	before, err := th.LoadPointer(indirect)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := th.CASPointer(indirect, before, pointer); err != nil || found != before {
		t.Fatal(found, err)
	}
	th.Settle(th.Next() - 1)
	return value
}

// verify checks the pool and fails the test when that cannot be done.
func verify(t testing.TB, path string) *VerifyReport {
	t.Helper()
	r, err := Verify(t.Context(), path, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantSound(t *testing.T, path string) *VerifyReport {
	t.Helper()
	r := verify(t, path)
	if r.Status() != StatusSound {
		var b strings.Builder
		r.WriteText(&b)
		t.Fatalf("a sound pool:\n%s", b.String())
	}
	return r
}

// patch is a pool file opened to be damaged.
type patch struct {
	t    *testing.T
	file *os.File
}

func openPatch(t *testing.T, path string) *patch {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &patch{t, f}
}

func (p *patch) word(offset uint64) uint64 {
	var b [8]byte
	if _, err := p.file.ReadAt(b[:], int64(offset)); err != nil {
		p.t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (p *patch) store(offset, word uint64) {
	if _, err := p.file.WriteAt(binary.LittleEndian.AppendUint64(nil, word), int64(offset)); err != nil {
		p.t.Fatal(err)
	}
}

// flip flips a bit of the word at offset and returns what puts it back.
func (p *patch) flip(offset uint64, bit int) (undo func()) {
	word := p.word(offset)
	p.store(offset, word^1<<bit)
	return func() { p.store(offset, word) }
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// readTruthfully reads every key and fails the test for each value that was not the last one written to it. It returns
// how many reads failed with an error, and how many keys were not found.
func readTruthfully(t *testing.T, what string, th *remote.Thread, want map[string]string) (failed, absent int) {
	t.Helper()
	for key, value := range want {
		g, err := th.Get(keyHash(key), []byte(key), 0)
		switch {
		case err == nil && string(g.Value) != value:
			t.Errorf("%s: %s = %.40q, want %.40q", what, key, g.Value, value)
		case errors.Is(err, remote.ErrNotFound):
			absent++
		case err != nil:
			failed++
			if remote.Broken(err) {
				t.Fatal(err)
			}
		}
	}
	return failed, absent
}
