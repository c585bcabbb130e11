package dac

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// model is the slow, obvious store behind a cache: what each key's value and shortcut are.
// It says what a cache may answer, not what it should keep.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	cache *Cache
	hash  func(key []byte) uint64
	pool  map[string]stored
	next  uint64 // shortcuts are never used twice, as with generations in the pool
	step  int
}

type stored struct {
	value    []byte
	shortcut uint64
	meta     uint32
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("step %d, policy %s: %s", m.step, m.cache.opts.Policy, fmt.Sprintf(format, args...))
}

func (m *model) randomValue() []byte {
	n := 0
	switch m.rng.IntN(10) {
	case 0:
		n = m.rng.IntN(70_000)
	case 1, 2:
		n = m.rng.IntN(5000)
	default:
		n = m.rng.IntN(300)
	}
	v := make([]byte, n)
	fill := m.rng.Uint64()
	for i := range v {
		v[i] = byte(fill >> (i % 8 * 8))
	}
	return v
}

// get does what an engine does for a read, and checks the answer.
func (m *model) get(key []byte) {
	hash := m.hash(key)
	want, exists := m.pool[string(key)]
	r := m.cache.Lookup(key, hash)
	switch r.Kind {
	case Value:
		if !exists || !bytes.Equal(r.Value, want.value) || r.Meta != want.meta || r.Shortcut != want.shortcut {
			m.fail("DAC-3: value of %q: got %d bytes, shortcut %d; want %d bytes, shortcut %d", key, len(r.Value), r.Shortcut, len(want.value), want.shortcut)
		}
		return
	case Shortcut:
		if exists && r.Shortcut == want.shortcut {
			m.cache.PromoteAfterShortcutHit(key, hash, want.value, want.meta, want.shortcut)
			return
		}
		if !m.belongsToTwin(key, hash, r.Shortcut) {
			m.fail("DAC-3: shortcut of %q is %d, want %d", key, r.Shortcut, want.shortcut)
		}
		m.cache.Invalidate(key, hash)
	}
	if exists {
		m.cache.InsertAfterMiss(key, hash, want.value, want.meta, want.shortcut, 1+m.rng.IntN(3))
	}
}

// belongsToTwin reports whether a shortcut is the current one of another key with this hash.
func (m *model) belongsToTwin(key []byte, hash, shortcut uint64) bool {
	for k, s := range m.pool {
		if s.shortcut == shortcut {
			return k != string(key) && m.hash([]byte(k)) == hash
		}
	}
	return false
}

func (m *model) put(key []byte) {
	m.next++
	s := stored{m.randomValue(), m.next, m.rng.Uint32()}
	m.pool[string(key)] = s
	m.cache.Update(key, m.hash(key), s.value, s.meta, s.shortcut)
}

func (m *model) drop() {
	from, width := m.rng.Uint64(), m.rng.Uint64()>>4
	lost := func(h uint64) bool { return h-from < width }
	m.cache.DropIf(lost)
	for k := range m.pool {
		h := m.hash([]byte(k))
		if lost(h) && m.cache.Lookup([]byte(k), h).Kind != Miss {
			m.fail("DAC-2: %q is still cached", k)
		}
	}
}

func (m *model) move(key []byte) {
	s, ok := m.pool[string(key)]
	if !ok {
		return
	}
	m.next++
	m.cache.UpdateShortcut(key, m.hash(key), s.shortcut, m.next)
	s.shortcut = m.next
	m.pool[string(key)] = s
}

func (m *model) run(steps, keys int) {
	for m.step = range steps {
		n := uint64(float64(keys) * m.rng.Float64() * m.rng.Float64() * m.rng.Float64())
		key := binary.AppendUvarint([]byte("key-"), n)
		switch p := m.rng.IntN(1000); {
		case p < 700:
			m.get(key)
		case p < 900:
			m.put(key)
		case p < 950:
			m.move(key)
		case p < 998:
			delete(m.pool, string(key))
			m.cache.Invalidate(key, m.hash(key))
		case p < 999:
			m.drop()
		case m.rng.IntN(5) == 0:
			m.cache.Reset()
		}
		if a := m.cache.adaptive; a != nil && m.rng.IntN(3000) == 0 {
			a.epoch.age(m.rng.Float64())
		}
		if used := m.cache.BytesUsed(); used > m.cache.Budget() {
			m.fail("DAC-1: %d bytes used, budget %d", used, m.cache.Budget())
		}
		if m.step%1000 == 0 {
			if err := m.cache.check(); err != nil {
				m.fail("%v", err)
			}
		}
	}
	mustCheck(m.t, m.cache, "end")
}

// Every policy, in small caches with much pressure, answers only what the pool holds and keeps
// its budget after every operation.
func TestAnswersOnlyWhatThePoolHolds(t *testing.T) {
	seed := random.Seed(t)
	for _, policy := range Policies() {
		for _, budget := range []int{MinBudgetBytes, 300_000, 2 << 20} {
			t.Run(fmt.Sprintf("%s/%d", policy, budget), func(t *testing.T) {
				m := &model{t: t, rng: random.New(seed), hash: xxhash.Sum64, pool: map[string]stored{}}
				m.cache = newCache(t, Options{Policy: policy, BudgetBytes: budget, Seed: seed})
				m.run(20_000, 20_000)
			})
		}
	}
}

// Keys whose hashes are equal live side by side and are never taken for one another.
func TestKeysOfEqualHash(t *testing.T) {
	seed := random.Seed(t)
	for _, policy := range Policies() {
		t.Run(policy, func(t *testing.T) {
			m := &model{t: t, rng: random.New(seed), pool: map[string]stored{}}
			m.hash = func(key []byte) uint64 { return xxhash.Sum64(key) % 50 * 0x9e3779b97f4a7c15 }
			m.cache = newCache(t, Options{Policy: policy, BudgetBytes: 300_000, Seed: seed})
			m.run(20_000, 300)
		})
	}
}

// The smallest table holds some 8,000 entries for the same bytes as none: whatever the policy,
// 5,000 keys all stay, and values take the rest.
func TestSmallestTableIsFilled(t *testing.T) {
	for _, policy := range []string{PolicyAdaptive, PolicyPaper, PolicyStatic + ":0.8", PolicyShortcutOnly} {
		c := newCache(t, Options{Policy: policy, BudgetBytes: MinBudgetBytes})
		value := make([]byte, 1000)
		read := func(n uint64) Kind {
			key := binary.BigEndian.AppendUint64(nil, n)
			hash := xxhash.Sum64(key)
			r := c.Lookup(key, hash)
			switch r.Kind {
			case Miss:
				c.InsertAfterMiss(key, hash, value, 0, n, 2)
			case Shortcut:
				c.PromoteAfterShortcutHit(key, hash, value, 0, n)
			}
			return r.Kind
		}
		for n := range uint64(5000) {
			read(n)
		}
		for n := range uint64(100_000) {
			read(n * n % 4999)
		}
		misses := 0
		for n := range uint64(5000) {
			if read(n) == Miss {
				misses++
			}
		}
		st := c.Stats()
		if misses > 0 || st.Values+st.Shortcuts != 5000 || policy != PolicyShortcutOnly && st.Values < 50 {
			t.Errorf("policy %s: %d misses, %d values and %d shortcuts of 5000 keys", policy, misses, st.Values, st.Shortcuts)
		}
		mustCheck(t, c, policy)
	}
}
