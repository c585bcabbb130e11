package backup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/inspect"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// archive backs a pool up into memory.
func archive(t *testing.T, path string) ([]byte, Summary) {
	t.Helper()
	var b bytes.Buffer
	s, err := Write(t.Context(), Options{Path: path, Out: &b})
	if err != nil {
		t.Fatal(err)
	}
	if s.ArchiveBytes != uint64(b.Len()) {
		t.Errorf("%d bytes, summary says %d", b.Len(), s.ArchiveBytes)
	}
	return b.Bytes(), s
}

// restored makes a pool of an archive and attaches to it.
func restored(t *testing.T, archive []byte, o dpm.Options) (*dpmtest.Rig, *remote.Thread, RestoreSummary) {
	t.Helper()
	o.Path, o.Sparse = filepath.Join(t.TempDir(), "restored"), true
	s, err := Restore(t.Context(), RestoreOptions{Archive: bytes.NewReader(archive), Pool: o})
	if err != nil {
		t.Fatal(err)
	}
	v, err := inspect.Verify(t.Context(), o.Path, inspect.VerifyOptions{})
	if err != nil || v.Status() != inspect.StatusSound {
		t.Fatalf("a restored pool: %v, %+v", err, v)
	}
	r := dpmtest.Start(t, dpm.Options{Path: o.Path, MustExist: true})
	return r, r.Thread(0, remote.AppenderOptions{}), s
}

// fill writes a bit of everything and returns what each key holds.
func fill(t *testing.T, r *dpmtest.Rig) map[string]string {
	t.Helper()
	want := map[string]string{}
	a, b := r.Thread(0, remote.AppenderOptions{}), r.Thread(1, remote.AppenderOptions{Compression: remote.CompressS2})
	for i := range 300 {
		for n, th := range []*remote.Thread{a, b} {
			key, value := fmt.Sprintf("%c%d", 'a'+n, i%250), dpmtest.Value(i, 100+17*i%3000)
			r.Put(th, key, value)
			want[key] = value
		}
	}
	for i := range 40 {
		key := fmt.Sprintf("a%d", 3*i)
		r.Delete(a, key)
		delete(want, key)
	}
	r.Append(a, func() error {
		_, err := a.Put([]byte("set"), []byte("members"), 2, 0)
		return err
	})
	r.Commit(a)
	r.Drain(a)
	r.Drain(b)
	want["set"] = "members"
	for i, key := range []string{"a200", "a0", "a201"} { // present, deleted, deleted while replicated
		indirect, err := r.Pool.Install([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		value := dpmtest.Value(i, 80)
		pointer, err := a.Put([]byte(key), []byte(value), dpmtest.LWW, format.FlagReplicated)
		want[key] = value
		if i == 2 {
			a.Abandon()
			pointer, err = a.Delete([]byte(key), format.FlagReplicated)
			delete(want, key)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Commit(a)
		before, err := a.LoadPointer(indirect)
		if err == nil {
			_, err = a.CASPointer(indirect, before, pointer)
		}
		if err != nil {
			t.Fatal(err)
		}
		a.Settle(a.Next() - 1)
	}
	if _, err := r.Pool.MetaCAS("ownership", 0, []byte("who owns what")); err != nil {
		t.Fatal(err)
	}
	return want
}

func expectKeys(t *testing.T, r *dpmtest.Rig, th *remote.Thread, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := r.Get(th, key); got != value {
			t.Errorf("%s = %.30q, want %.30q", key, got, value)
		}
	}
	if st := r.Pool.Stats(); st.IndexSlotsUsed != uint64(len(want)) {
		t.Errorf("%d keys, want %d", st.IndexSlotsUsed, len(want))
	}
}

func TestRoundTrip(t *testing.T) {
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(60)})
	want := fill(t, r)
	live, s := archive(t, r.Path)
	if !s.Live || s.Keys != uint64(len(want)) || s.MetadataRecords != 1 || s.Unmerged != 0 {
		t.Errorf("%+v, want %d keys", s, len(want))
	}
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	closed, s := archive(t, r.Path)
	if s.Live || s.Keys != uint64(len(want)) {
		t.Errorf("%+v, want %d keys", s, len(want))
	}
	for name, b := range map[string][]byte{"live": live, "closed": closed} {
		for shape, o := range map[string]dpm.Options{
			"same": {}, "larger segments": {Shape: format.Shape{SegmentBytes: 256 << 10}}, "larger pool": {Bytes: 32 << 20},
		} {
			t.Run(name+"/"+shape, func(t *testing.T) {
				again, th, s := restored(t, b, o)
				expectKeys(t, again, th, want)
				if fmt.Sprint(s.Left) != "[ownership]" || s.Keys != uint64(len(want)) {
					t.Errorf("%+v", s)
				}
				if g, err := th.MayHoldLattice(keyHash("set")); err != nil || !g {
					t.Errorf("the filter lacks a key of a lattice type: %v", err)
				}
				if again.Pool.PoolID() == r.Pool.PoolID() {
					t.Error("two pools of one identity")
				}
				again.Put(th, "a1", "goes on")
				if again.Drain(th); again.Get(th, "a1") != "goes on" {
					t.Error("a restored pool does not take writes")
				}
			})
		}
	}
	check, err := Check(t.Context(), bytes.NewReader(live))
	if err != nil || check.Keys != uint64(len(want)) || check.Header.PoolID != r.Pool.PoolID() {
		t.Errorf("%+v, %v", check, err)
	}
}

// On a closed pool the logs are read as recovery would read them.
func TestUnmergedLogsOfAClosedPool(t *testing.T) {
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(60), Workers: -1, UnmergedSegments: 10})
	a, b := r.Thread(0, remote.AppenderOptions{}), r.Thread(1, remote.AppenderOptions{})
	want := map[string]string{}
	for i := range 200 {
		for n, th := range []*remote.Thread{a, b} {
			key, value := fmt.Sprintf("%c%d", 'a'+n, i%150), dpmtest.Value(i, 1500)
			r.Put(th, key, value)
			want[key] = value
		}
		if i == 60 { // a part is merged
			if _, err := r.Pool.Step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 20 {
		r.Delete(a, fmt.Sprint("a", i))
		delete(want, fmt.Sprint("a", i))
	}
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	archived, s := archive(t, r.Path)
	if s.Unmerged < 50 || s.Keys != uint64(len(want)) {
		t.Errorf("%+v, want %d keys", s, len(want))
	}
	if after, err := os.ReadFile(r.Path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the backup changed the pool: %v", err)
	}
	again, th, _ := restored(t, archived, dpm.Options{})
	expectKeys(t, again, th, want)
}

// A pool that does not merge is not waited for, for ever; and when its DPM goes, the backup goes on as of a closed one.
func TestPoolThatDoesNotMerge(t *testing.T) {
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(20), Workers: -1})
	r.Put(r.Thread(0, remote.AppenderOptions{}), "k", "v")
	var b bytes.Buffer
	if _, err := Write(t.Context(), Options{Path: r.Path, Out: &b, MergeWithin: time.Millisecond}); !errors.Is(err, ErrNotMerged) {
		t.Fatalf("%v", err)
	}
	done := make(chan Summary)
	go func() {
		s, err := Write(t.Context(), Options{Path: r.Path, Out: &b, MergeWithin: time.Minute})
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	time.Sleep(5 * time.Millisecond) // whether it waits already or not: both ways lead to the same end
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	if s := <-done; s.Live || s.Unmerged != 1 || s.Keys != 1 {
		t.Errorf("%+v", s)
	}
}

// BAK-1 and BAK-2 while writers write, keys come and go, segments are compacted and the index grows.
func TestBackupOfABusyPool(t *testing.T) {
	seed := random.Seed(t)
	r := dpmtest.Start(t, dpm.Options{Shape: dpmtest.SmallShape(160)})
	const threads, keys = 2, 600
	// Of each key: how many of its writes were acknowledged, and begun. The n-th write puts n; every fifth deletes.
	var acked, begun [threads][keys]atomic.Int64
	var stop atomic.Bool
	var writers sync.WaitGroup
	for i := range threads {
		th := r.Thread(uint16(i), remote.AppenderOptions{})
		writers.Go(func() {
			rng := random.New(seed + uint64(i))
			for fresh := 0; !stop.Load(); fresh++ {
				var batch []int
				for range 1 + rng.IntN(6) {
					k := rng.IntN(keys)
					n := begun[i][k].Add(1)
					r.Append(th, func() (err error) {
						if n%5 == 0 {
							_, err = th.Delete(busyKey(i, k), 0)
						} else {
							_, err = th.Put(busyKey(i, k), []byte(dpmtest.Value(int(n), 200+k)), dpmtest.LWW, 0)
						}
						return err
					})
					batch = append(batch, k)
				}
				if fresh < 4000 { // for the index to grow
					r.Append(th, func() error {
						_, err := th.Put(fmt.Appendf(nil, "fresh%d-%d", i, fresh), []byte("x"), dpmtest.LWW, 0)
						return err
					})
				}
				r.Commit(th)
				for _, k := range batch {
					acked[i][k].Add(1)
				}
			}
		})
	}
	enough := func() bool {
		st := r.Pool.Stats()
		return st.IndexGrows > 0 && st.Compactions > 20
	}
	for n := 0; n < 6 || n < 500 && !enough(); n++ {
		var least [threads][keys]int64
		for i := range least {
			for k := range least[i] {
				least[i][k] = acked[i][k].Load()
			}
		}
		b, s := archive(t, r.Path)
		most := func(i, k int) int64 { return begun[i][k].Load() }
		if !s.Live {
			t.Error("the pool is live")
		}
		expectBetween(t, b, &least, most)
	}
	stop.Store(true)
	writers.Wait()
	st := r.Pool.Stats()
	if !enough() {
		t.Errorf("the pool was not busy:\n%s", st)
	}
	t.Logf("meanwhile: %d entries merged, %d compactions, %d times grown", st.MergedEntries, st.Compactions, st.IndexGrows)
}

func busyKey(i, k int) []byte { return fmt.Appendf(nil, "%d-%d", i, k) }

// expectBetween reads an archive and expects of each key a write between the least and the most.
func expectBetween(t *testing.T, b []byte, least *[2][600]int64, most func(i, k int) int64) {
	t.Helper()
	found := map[string]string{}
	var s RestoreSummary
	rd, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	err = s.each(t.Context(), rd, func(batch []format.Entry) error {
		for _, e := range batch {
			if _, double := found[string(e.Key)]; double {
				t.Errorf("%s is there twice", e.Key)
			}
			found[string(e.Key)] = string(e.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range least {
		for k := range least[i] {
			low, high := least[i][k], most(i, k)
			value, present := found[string(busyKey(i, k))]
			var n int64
			if !present {
				if deleted := high - high%5; deleted < low { // no delete within the range, unless nothing was written
					t.Errorf("%s is not there; writes %d to %d", busyKey(i, k), low, high)
				}
				continue
			}
			if _, err := fmt.Sscanf(value, "%08d.", &n); err != nil || value != dpmtest.Value(int(n), 200+k) {
				t.Errorf("%s holds half a value: %.30q", busyKey(i, k), value)
			}
			if n < low || n > high || n%5 == 0 {
				t.Errorf("%s is of write %d; acknowledged before: %d, begun: %d", busyKey(i, k), n, low, high)
			}
		}
	}
}
