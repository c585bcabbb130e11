package engine

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// share gives a key an indirect pointer and makes it shared for the engines. What was written to it is merged first.
func (r *rig) share(key string, engines ...*Engine) {
	r.t.Helper()
	for _, e := range engines {
		r.drain(e)
	}
	if _, err := r.pool.Install([]byte(key)); err != nil {
		r.t.Fatal(err)
	}
	for _, e := range engines {
		e.Share([]HashedKey{{Key: []byte(key), Hash: hashring.KeyHash([]byte(key))}})
	}
}

func (r *rig) unshare(key string, engines ...*Engine) {
	r.t.Helper()
	for _, e := range engines {
		r.drain(e)
		e.Share(nil)
	}
	if err := r.pool.Remove([]byte(key)); err != nil {
		r.t.Fatal(err)
	}
}

func TestSharedKeyRoundTrips(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	a, b := r.engine(0, Options{ProgressEvery: 1 << 40}), r.engine(1, Options{ProgressEvery: 1 << 40})
	mustBe(t, a.put1("hot", "0"), "ok")
	mustBe(t, b.put1("other", "0"), "ok")
	r.share("hot", a, b)
	trips := func(e *Engine, want uint64, f func()) {
		t.Helper()
		before := e.Verbs().RoundTrips
		f()
		if got := e.Verbs().RoundTrips - before; got != want {
			t.Errorf("%d round trips, want %d", got, want)
		}
	}
	mustBe(t, b.get1("hot"), "=0") // the way through the index, once
	trips(b, 1, func() { mustBe(t, b.get1("hot"), "=0") })
	mustBe(t, a.put1("hot", "1"), "ok")
	trips(b, 2, func() { mustBe(t, b.get1("hot"), "=1") })
	trips(b, 1, func() { mustBe(t, b.get1("hot"), "=1") })
	trips(b, 2, func() { mustBe(t, b.put1("hot", "2"), "ok") })
	trips(b, 2, func() {
		x := b.batch()
		x.put("other", "1")
		x.put("hot", "3")
		x.put("hot", "4")
		i := x.get("hot")
		b.Run()
		mustBe(t, b.show(i), "=4")
	})
	trips(a, 2, func() { mustBe(t, a.get1("hot"), "=4") })
	mustBe(t, b.put1("hot", "5"), "ok")
	trips(a, 3, func() { mustBe(t, a.put1("hot", "6"), "ok") }) // another owner was there in between: its value's type is looked at
	mustBe(t, b.get1("hot"), "=6")
	mustBe(t, a.delete1("hot"), "ok")
	mustBe(t, b.get1("hot"), "KEY_DNE")
	trips(b, 1, func() { mustBe(t, b.get1("hot"), "KEY_DNE") })
	mustBe(t, b.one(func(x batch) int { return x.merge("hot", lattice.Set, set("m")) }), "ok")
	mustBe(t, a.put1("hot", "x"), "LATTICE")
	mustBe(t, a.one(func(x batch) int { return x.merge("hot", lattice.Set, set("n")) }), "ok")
	mustBe(t, b.get1("hot"), fmt.Sprintf("SET %x", set("m", "n")))

	r.unshare("hot", a, b)
	mustBe(t, a.get1("hot"), fmt.Sprintf("SET %x", set("m", "n")))
	mustBe(t, a.delete1("hot"), "ok")
	mustBe(t, a.put1("hot", "plain"), "ok")
	r.drain(a)
	fresh := r.engine(2, Options{Cache: noCache})
	mustBe(t, fresh.get1("hot"), "=plain")
}

// TestSharedKeyWithoutPointer: a key that a map has shared before the pool has given it its pointer is refused, not guessed.
func TestSharedKeyWithoutPointer(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	e := r.engine(0, Options{})
	mustBe(t, e.put1("hot", "v"), "ok")
	r.drain(e)
	e.Share([]HashedKey{{Key: []byte("hot"), Hash: hashring.KeyHash([]byte("hot"))}})
	mustBe(t, e.get1("hot"), "OVERLOADED")
	mustBe(t, e.put1("hot", "w"), "OVERLOADED")
	if _, err := r.pool.Install([]byte("hot")); err != nil {
		t.Fatal(err)
	}
	mustBe(t, e.get1("hot"), "=v")
}

// TestSharedSetLosesNothing: several owners add members to one set at once, while queue pairs break; every acknowledged
// member is there in the end, and what a reader has seen never goes away.
func TestSharedSetLosesNothing(t *testing.T) {
	seed := random.Seed(t)
	for _, backend := range []string{"tcp", "shm"} {
		t.Run(backend, func(t *testing.T) {
			r := newRig(t, backend, smallPool())
			const owners, rounds = 3, 60
			var engines []*Engine
			for i := range owners {
				engines = append(engines, r.engine(uint16(i), Options{Logf: func(string, ...any) {}}))
			}
			r.share("hot", engines...)
			var work sync.WaitGroup
			acknowledged := make([][]string, owners)
			for n, e := range engines {
				work.Add(1)
				go func() {
					defer work.Done()
					rng := random.New(seed + uint64(n))
					seen := lattice.SetValue{}
					for i := range rounds {
						if n == 0 && rng.IntN(10) == 0 {
							r.faults.after.Store(rng.IntN(2) == 0)
							r.faults.posts.Store(int64(1 + rng.IntN(10)))
						}
						b := e.batch()
						member := fmt.Sprintf("%d/%d", n, i)
						put := b.merge("hot", lattice.Set, set(member))
						get := b.get("hot")
						b.put(fmt.Sprint("own", n, i%5), member)
						e.Run()
						switch got := e.show(put); got {
						case "ok":
							acknowledged[n] = append(acknowledged[n], member)
						case "TIMEOUT", "OVERLOADED":
						default:
							t.Errorf("put: %s", got)
						}
						if result := e.Result(get); result.Code == 0 && result.Lattice == lattice.Set {
							value, err := lattice.ParseSet(result.Value, lattice.Options{})
							if err != nil || len(value.Merge(seen)) != len(value) {
								t.Errorf("a get shows %d members (%v) after one showed %d", len(value), err, len(seen))
							}
							seen = seen[:0:0]
							for _, m := range value {
								seen = append(seen, append([]byte(nil), m...))
							}
						}
						if !e.Up() {
							r.recovered(e)
						}
					}
				}()
			}
			work.Wait()
			r.faults.posts.Store(0)
			for _, e := range engines {
				r.recovered(e)
			}
			r.unshare("hot", engines...)
			fresh := r.engine(owners, Options{Cache: noCache})
			b := fresh.batch()
			i := b.get("hot")
			fresh.Run()
			value, err := lattice.ParseSet(fresh.Result(i).Value, lattice.Options{})
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, members := range acknowledged {
				total += len(members)
				for _, m := range members {
					if len(value.Merge(lattice.SetValue{[]byte(m)})) != len(value) {
						t.Errorf("%s was acknowledged and is lost", m)
					}
				}
			}
			if total < owners*rounds/2 {
				t.Errorf("only %d of %d puts were acknowledged", total, owners*rounds)
			}
		})
	}
}

// TestFreedWordIsLeftAlone: an owner that has not heard that its key's word went back to the pool, and that does not know what the word
// held last, neither moves it (a CAS from 0 would meet the store that hands it out again) nor takes the key for missing.
func TestFreedWordIsLeftAlone(t *testing.T) {
	for _, then := range []string{"is not shared any more", "has another word"} {
		t.Run(then, func(t *testing.T) {
			r := newRig(t, "tcp", smallPool())
			e := r.engine(0, Options{ProgressEvery: 1 << 40})
			r.share("hot", e)
			mustBe(t, e.get1("hot"), "KEY_DNE")
			r.faults.posts.Store(2) // the log's WRITE is the first, the CAS is the second
			mustBe(t, e.put1("hot", "lost"), "TIMEOUT")
			r.recovered(e)

			key := []byte("hot")
			word, err := r.pool.Install(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.pool.Remove(key); err != nil {
				t.Fatal(err)
			}
			put, get := "OVERLOADED", "OVERLOADED"
			if then == "has another word" {
				if renewed, err := r.pool.Install(key); err != nil || renewed == word {
					t.Fatalf("installed again as %v, %v; was %v", renewed, err, word)
				}
				put, get = "ok", "=new"
			}
			if got := r.pool.Region().Load64(word.Offset()); got != 0 {
				t.Fatalf("the free word holds %#x", got)
			}
			mustBe(t, e.put1("hot", "new"), put)
			mustBe(t, e.get1("hot"), get)
			if got := r.pool.Region().Load64(word.Offset()); got != 0 {
				t.Errorf("the free word was moved to %#x", got)
			}
		})
	}
}

// TestDroppedSharedKeyForgetsItsPointer covers DPM-6 from an owner's side: when another owner fails, the key may get another
// pointer word, while the old one goes on holding what it held.
func TestDroppedSharedKeyForgetsItsPointer(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	a, b := r.engine(0, Options{ProgressEvery: 1 << 40}), r.engine(1, Options{ProgressEvery: 1 << 40})
	next := r.engine(2, Options{ProgressEvery: 1 << 40}) // comes in the failed owner's place
	mustBe(t, a.put1("hot", "0"), "ok")
	r.share("hot", a, b)
	mustBe(t, a.get1("hot"), "=0")
	mustBe(t, b.get1("hot"), "=0")

	key := []byte("hot")
	old, err := r.pool.Install(key)
	if err != nil {
		t.Fatal(err)
	}
	held := r.pool.Region().Load64(old.Offset())
	if err := r.pool.Remove(key); err != nil {
		t.Fatal(err)
	}
	if renewed, err := r.pool.Install(key); err != nil || renewed == old {
		t.Fatalf("installed again as %v, %v; was %v", renewed, err, old)
	}
	r.pool.Region().Store64(old.Offset(), held) // as a word in quarantine
	moved := []HashedKey{{Key: key, Hash: hashring.KeyHash(key)}}
	for _, e := range []*Engine{a, b, next} {
		e.Drop(func(uint64) bool { return false }, moved)
		e.Share(moved)
	}
	mustBe(t, next.put1("hot", "1"), "ok")
	mustBe(t, a.get1("hot"), "=1")
	mustBe(t, b.put1("hot", "2"), "ok")
	mustBe(t, next.get1("hot"), "=2")
}
