package index

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// remoteGet reads as a KN does: one bucket at a time, copied, with a table that may be old.
func remoteGet(r *rig, t **Table, hash uint64, key []byte) (format.Pointer, error) {
	var buf [format.BucketBytes]byte
	var p Probe
restart:
	offset := (*t).BucketOf(hash)
	for range MaxChain {
		r.region.Read(offset, buf[:])
		err := (*t).Probe(&buf, offset, hash, &p)
		if errors.Is(err, ErrMoved) {
			if fresh := r.index.Table(); fresh != *t {
				*t = fresh
				goto restart
			}
		}
		if err != nil {
			return 0, err
		}
		for _, c := range p.Candidates[:p.Count] {
			if found, err := r.keyAt(c); err == nil && string(found) == string(key) {
				return c, nil
			}
		}
		if offset = p.Next; offset == 0 {
			return 0, nil
		}
	}
	return 0, ErrChain
}

// Workers write disjoint keys, readers look for keys that are always there (IDX-4) while the table grows under
// them; at the end the index holds what each worker last wrote.
func TestConcurrent(t *testing.T) {
	seed := random.Seed(t)
	r := volatileRig(t, 200, crowdedHash(8))
	const workers, keys = 4, 40
	var logMu sync.Mutex
	write := func(key, value string) format.Pointer {
		logMu.Lock()
		defer logMu.Unlock()
		return r.append(t, 0, key, value)
	}
	for i := range 24 {
		r.put(t, fmt.Sprint("stay", i), "v")
	}
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	models := make([]map[string]format.Pointer, workers)
	for w := range workers {
		writers.Go(func() {
			rng := random.New(seed + uint64(w))
			model := map[string]format.Pointer{}
			models[w] = model
			for range 300 {
				var batch []Mutation
				for range 1 + rng.IntN(12) {
					key := fmt.Sprintf("%d.%d", w, rng.IntN(keys))
					m := Mutation{Hash: r.hashOf([]byte(key)), Key: []byte(key)}
					if rng.IntN(3) > 0 {
						m.New = write(key, "v")
					}
					batch = append(batch, m)
				}
				results := make([]Result, len(batch))
				if _, err := r.index.Apply(batch, results); err != nil {
					t.Errorf("apply: %v", err)
					return
				}
				applyToModel(t, model, batch, results)
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			table := r.index.Table()
			for i := 0; !stop.Load(); i++ {
				key := fmt.Sprint("stay", i%24)
				if p, err := remoteGet(r, &table, r.hashOf([]byte(key)), []byte(key)); p == 0 || err != nil {
					t.Errorf("key %q is missed: %v %v", key, p, err)
					return
				}
				if p, err := r.index.Get(r.hashOf([]byte(key)), []byte(key)); p == 0 || err != nil {
					t.Errorf("key %q is missed by Get: %v %v", key, p, err)
					return
				}
			}
		})
	}
	for range 4 {
		must(t, r.index.Grow())
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	model := map[string]format.Pointer{}
	for i := range 24 {
		key := fmt.Sprint("stay", i)
		model[key] = r.get(t, key)
	}
	for _, m := range models {
		for k, p := range m {
			model[k] = p
		}
	}
	compareWithModel(t, r, model)
	t.Log(r.index.Stats())
}

// A batch that waits for another one's slot ends with an error when that one's fence fails.
func TestFailedFenceWakesWaiters(t *testing.T) {
	l := smallLayout(t, 8)
	fake := pmem.NewFake(l.TotalBytes, pmem.Fsync)
	r := newRig(t, fake, l, func([]byte) uint64 { return 3 })
	slot := r.index.Table().BucketOf(3) + format.BucketPointerOffset
	r.region.Store64(slot-8, 3)
	s := &r.index.stripes[stripeOf(3)]
	s.mu.Lock()
	s.reserve(slot) // as a batch that is at its fence has
	s.mu.Unlock()
	done := make(chan error)
	go func() {
		_, err := r.index.Apply([]Mutation{{Hash: 3, Key: []byte("k"), New: pointerOfKey(1, 1)}}, make([]Result, 1))
		done <- err
	}()
	if err := r.index.fail(pmem.ErrReadOnly); <-done != err {
		t.Error("the waiting batch ends otherwise")
	}
	if _, err := r.index.Apply(nil, nil); err != pmem.ErrReadOnly {
		t.Errorf("later: %v", err)
	}
	if err := r.index.Grow(); err != pmem.ErrReadOnly {
		t.Errorf("grow: %v", err)
	}
}
