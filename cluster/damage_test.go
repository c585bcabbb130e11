package cluster_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// damagedPool makes a pool that holds two keys, of which "damaged" has a flipped bit in its value.
func damagedPool(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pool")
	p, err := dpm.Open(dpm.Options{Path: path, Bytes: 32 << 20, Shape: format.Shape{SegmentBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	var entries []format.Entry
	for _, key := range []string{"sound", "damaged"} {
		payload := lattice.LWWValue{Timestamp: 1, Value: []byte("value of " + key)}.Append(nil)
		entries = append(entries, format.Entry{
			Op: format.OpPut, Lattice: uint8(lattice.LWW), RawLength: uint32(len(payload)), Key: []byte(key), Value: payload,
		})
	}
	if err := errors.Join(p.Load(entries), p.Close()); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(stored, []byte("value of damaged"))
	if at < 0 || bytes.Count(stored, []byte("value of damaged")) != 1 {
		t.Fatalf("the value is at %d, and %d times in the file", at, bytes.Count(stored, []byte("value of damaged")))
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte{stored[at] ^ 4}, int64(at))
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// A client that asks for a damaged key learns of it from the first answer, and does not ask on until its deadline. It is served
// other keys meanwhile, and this one as soon as it has a new value.
func TestClientLearnsOfDamage(t *testing.T) {
	c := up(t, cluster.Topology{KNs: 1}, "dinomo.pool.path="+damagedPool(t))
	cl := newClient(t, c)
	ctx := within(t)
	for range 3 {
		if value, err := cl.Get(ctx, "damaged"); !errors.Is(err, messages.ErrDamaged) {
			t.Fatalf("a damaged key: %q, %v", value, err)
		}
	}
	if value, err := cl.Get(ctx, "sound"); err != nil || string(value) != "value of sound" {
		t.Errorf("a key beside it: %q, %v", value, err)
	}
	if err := cl.Put(ctx, "damaged", []byte("healed")); err != nil {
		t.Fatal(err)
	}
	if value, err := cl.Get(ctx, "damaged"); err != nil || string(value) != "healed" {
		t.Errorf("written anew: %q, %v", value, err)
	}
}
