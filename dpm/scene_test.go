package dpm

import (
	"errors"
	"os"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// A scene is a short scripted workload that is crashed at each of its fences in turn, and each crash is survived from
// several images: what the random worlds come across sooner or later, these go through one by one.
type scene struct {
	name  string
	steps []func(w *world)
	did   func(st Stats) uint64 // what it is about, if that shows in the pool's figures: not 0 after a run without a crash
}

// puts writes a batch of keys of a group, from key first on, over thread t.
func puts(t, group, first, n, valueBytes int) func(w *world) {
	return func(w *world) {
		w.owner[group] = t
		var writes []write
		for k := first; k < first+n; k++ {
			writes = append(writes, write{key: groupKey(group, k%worldKeys), value: value(w.next(), valueBytes)})
		}
		w.batch(w.threads[t], writes)
	}
}

// deletes is puts for deletes.
func deletes(t, group, first, n int) func(w *world) {
	return func(w *world) {
		var writes []write
		for k := first; k < first+n; k++ {
			writes = append(writes, write{key: groupKey(group, k%worldKeys), deleted: true})
		}
		w.batch(w.threads[t], writes)
	}
}

// next numbers the values of a scene.
func (w *world) next() int {
	w.ops["values"]++
	return w.ops["values"]
}

// batch appends and commits writes. While the pool is busy it is let work.
func (w *world) batch(t *worldThread, writes []write) {
	var done []write
	for _, x := range writes {
		err := w.patiently(func() (err error) {
			if x.deleted {
				_, err = t.Delete([]byte(x.key), 0)
			} else {
				_, err = t.Put([]byte(x.key), []byte(x.value), latticeLWW, 0)
			}
			if errors.Is(err, remote.ErrBatchFull) {
				if w.finish(t, done); w.fake.Crashed() {
					return err
				}
				done = nil
				err = remote.ErrBusy
			}
			return err
		})
		if err != nil {
			w.mustHaveCrashed("put: %v", err)
			return
		}
		done = append(done, x)
	}
	w.finish(t, done)
}

func steps(n int) func(w *world) {
	return func(w *world) {
		for range n {
			if !w.fake.Crashed() {
				w.opStep()
			}
		}
	}
}

func drainThread(t int) func(w *world) { return func(w *world) { w.drain(w.threads[t]) } }

func repeat(n int, some ...func(w *world)) (all []func(w *world)) {
	for range n {
		all = append(all, some...)
	}
	return all
}

func metaSwap(w *world)    { w.opMeta() }
func installHot(w *world)  { w.opInstall() }
func removeHot(w *world)   { w.opRemove() }
func hotPut(w *world)      { w.opHotPut(0) }
func reopenPool(w *world)  { w.opReopen() }
func replaceNode(w *world) { w.drainAndReplace() }
func sealLog(t int) func(w *world) {
	return func(w *world) {
		if err := w.threads[t].Seal(); err != nil {
			w.mustHaveCrashed("seal: %v", err)
		}
	}
}

var scenes = []scene{
	{"append and group commit", repeat(3, puts(0, 0, 0, 4, 100), puts(1, 1, 0, 1, 20000), puts(0, 0, 2, 3, 9000)), nil},
	{"merge inserts, updates and deletes", repeat(2, puts(0, 0, 0, 5, 200), steps(1), deletes(0, 0, 1, 2), puts(0, 0, 2, 4, 300), steps(2)), nil},
	{"chains grow and shrink", []func(w *world){puts(0, 0, 0, 12, 50), steps(2), puts(1, 1, 0, 12, 50), steps(2),
		deletes(0, 0, 0, 12), steps(2), puts(0, 0, 0, 12, 60), deletes(1, 1, 3, 9), steps(2)}, func(st Stats) uint64 { return st.OverflowSegments }},
	{"index grows", []func(w *world){puts(0, 0, 0, 12, 40), puts(0, 1, 0, 12, 40), puts(1, 2, 0, 12, 40), puts(1, 3, 0, 12, 40), puts(2, 4, 0, 12, 40), steps(6)}, func(st Stats) uint64 { return st.IndexGrows }},
	{"hand-out and reuse", repeat(8, puts(0, 0, 0, 6, 9000), puts(2, 1, 0, 6, 9000), steps(2)), func(st Stats) uint64 { return st.FreedSegments }},
	{"compaction", append(repeat(4, puts(0, 0, 0, 12, 5000), puts(2, 1, 0, 12, 5000), steps(1)),
		append(repeat(6, puts(0, 0, 0, 3, 5000), steps(2)), deletes(2, 1, 0, 6), steps(6))...), func(st Stats) uint64 { return st.Compactions }},
	{"indirect pointers", append(repeat(4, installHot), append(repeat(6, hotPut, steps(1)), append(repeat(3, removeHot, hotPut, installHot), steps(3))...)...), nil},
	{"metadata", repeat(8, metaSwap), nil},
	{"ownership moves", repeat(4, puts(0, 0, 0, 3, 500), drainThread(0), puts(3, 0, 0, 3, 500), drainThread(3)), nil},
	{"logs are given back", repeat(3, puts(0, 0, 0, 3, 500), sealLog(0), puts(0, 0, 3, 3, 500), steps(2)), nil},
	{"nodes leave and come", repeat(3, puts(0, 0, 0, 3, 500), puts(2, 1, 0, 3, 500), replaceNode), nil},
	{"recovery", repeat(2, puts(0, 0, 0, 4, 9000), puts(1, 1, 0, 4, 9000), puts(2, 2, 0, 9, 9000), metaSwap, reopenPool), nil},
}

// play runs the scene, until a crash if it is crashed at that fence, and then survives. It returns the fences passed.
func (s *scene) play(seed uint64, crashAt int, imageSeed uint64) (fences int, broken string) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case violation:
			broken = string(p)
		default:
			panic(p)
		}
	}()
	w := newWorld(seed, false, pmem.Site{})
	w.scripted = true
	before := w.fake.Fences()
	w.fake.CrashAtFence(crashAt, false)
	for _, step := range s.steps {
		if step(w); w.fake.Crashed() {
			break
		}
	}
	if !w.fake.Crashed() {
		w.fake.CrashAtFence(0, false)
		w.verify()
		if s.did != nil && s.did(w.pool.Stats()) == 0 {
			violated("the scene does not do what it is about")
		}
		return w.fake.Fences() - before, ""
	}
	w.scripted = false
	w.rng = random.New(imageSeed) // the run was the same up to here
	w.recover()
	return 0, ""
}

// TestCrashAtEveryFence crashes each scene at each fence (of the long ones, in the default run, at some fifty).
// CRASH_SEEDS=n survives each crash from n/20 images more.
func TestCrashAtEveryFence(t *testing.T) {
	images := 1
	if os.Getenv("CRASH_SEEDS") != "" {
		images += crashSeeds(t, 0) / 20
	}
	base := random.Seed(t)
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			const seed = 7
			fences, broken := s.play(seed, 0, 0)
			if broken != "" {
				t.Fatalf("without a crash: %s", broken)
			}
			every := 1
			switch {
			case testing.Short():
				every = 7
			case os.Getenv("CRASH_SEEDS") == "":
				every = fences/50 + 1
			}
			for at := 1 + int(base%uint64(every)); at <= fences; at += every {
				for image := range images {
					imageSeed := base + uint64(at*1000+image)
					if _, broken := s.play(seed, at, imageSeed); broken != "" {
						t.Fatalf("crash at fence %d of %d, image %d: %s", at, fences, imageSeed, broken)
					}
				}
			}
			t.Logf("%d fences, %d images each", fences, images)
		})
	}
}
