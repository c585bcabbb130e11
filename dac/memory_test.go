package dac

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/invariant"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// residentBytes is the memory that this process has now.
func residentBytes(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// usage is what the child of TestResidentMemory reports.
type usage struct {
	Idle, Full, Changed, Reset int    // resident bytes
	Used                       int    // what the cache says, when full
	HeapBytes, HeapObjects     uint64 // what the garbage collector has to look at, when full
}

const childBudget = "DAC_CHILD_BUDGET"

// TestResidentMemoryChild is no test: it fills a cache in a process of its own.
func TestResidentMemoryChild(t *testing.T) {
	budget, err := strconv.Atoi(os.Getenv(childBudget))
	if err != nil {
		t.Skip("only as the child of TestResidentMemory")
	}
	rng := random.New(1)
	value := make([]byte, 64<<10)
	var u usage
	c := newCache(t, Options{BudgetBytes: budget})
	u.Idle = residentBytes(t)
	key := make([]byte, 8)
	// Sizes of 16 B to 64 KiB, each doubling as often as the next; then sizes shift, so that
	// memory has to move between classes; then many tiny values and shortcuts.
	churn := func(bytes int, from, doublings int) {
		for n := 0; bytes > 0; n++ {
			size := from<<rng.IntN(doublings) + rng.IntN(from)
			binary.LittleEndian.PutUint64(key, rng.Uint64N(1<<40))
			hash := xxhash.Sum64(key)
			c.Lookup(key, hash)
			c.InsertAfterMiss(key, hash, value[:min(size, len(value))], 0, rng.Uint64(), 2)
			c.PromoteAfterShortcutHit(key, hash, value[:min(size, len(value))], 0, 1)
			bytes -= size
		}
	}
	churn(3*budget, 16, 12)
	u.Full, u.Used = residentBytes(t), c.BytesUsed()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	u.HeapBytes, u.HeapObjects = m.HeapAlloc, m.HeapObjects
	churn(budget, 10<<10, 1)
	churn(budget/4, 16, 3)
	u.Changed = residentBytes(t)
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	c.Reset()
	u.Reset = residentBytes(t)
	if err := json.NewEncoder(os.Stderr).Encode(u); err != nil {
		t.Fatal(err)
	}
}

// A process with a cache takes what the cache says it takes and a small constant; an idle cache
// takes little; and the garbage collector sees nothing of the contents, so that its pauses
// cannot grow with them. With DAC_RSS=long the cache has 1 GiB and the limit is 1.1 GiB.
func TestResidentMemory(t *testing.T) {
	budget := 48 << 20
	const constant = 32 << 20 // Go's runtime, the test binary's pages
	limit := budget + constant
	if invariant.Enabled {
		t.Skip("the race detector's shadow memory is resident too")
	}
	if os.Getenv("DAC_RSS") == "long" {
		budget = 1 << 30
		limit = 11 * budget / 10
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestResidentMemoryChild$")
	cmd.Env = append(os.Environ(), childBudget+"="+strconv.Itoa(budget))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("child: %v\n%s%s", err, out, stderr.String())
	}
	var u usage
	if err := json.Unmarshal(stderr.Bytes(), &u); err != nil {
		t.Fatalf("child reported %q: %v", stderr.String(), err)
	}
	t.Logf("budget %d MiB: %+v", budget>>20, u)
	if u.Used < budget*9/10 || u.Used > budget {
		t.Errorf("the full cache says it takes %d of %d bytes", u.Used, budget)
	}
	if u.Full > limit || u.Changed > limit {
		t.Errorf("resident: %d when full, %d after sizes changed; want at most %d", u.Full, u.Changed, limit)
	}
	if u.Idle > constant || u.Reset > constant+4<<20 {
		t.Errorf("resident: %d when idle, %d after Reset; want some %d at most", u.Idle, u.Reset, constant)
	}
	if u.HeapBytes > 4<<20 || u.HeapObjects > 20_000 {
		t.Errorf("the collector sees %d bytes in %d objects", u.HeapBytes, u.HeapObjects)
	}
}

// Lookups, updates, inserts and evictions allocate nothing.
func TestNothingIsAllocated(t *testing.T) {
	for _, policy := range Policies() {
		c := newCache(t, Options{Policy: policy, BudgetBytes: 1 << 20})
		value := make([]byte, 100)
		key := make([]byte, 8)
		n := uint64(0)
		touch := func() {
			n++
			binary.LittleEndian.PutUint64(key, n*n%20_000)
			hash := xxhash.Sum64(key)
			switch c.Lookup(key, hash).Kind {
			case Miss:
				c.InsertAfterMiss(key, hash, value, 0, n, 2)
			case Shortcut:
				c.PromoteAfterShortcutHit(key, hash, value, 0, n)
			default:
				c.Update(key, hash, value, 0, n)
			}
		}
		for range 100_000 {
			touch()
		}
		if a := testing.AllocsPerRun(20_000, touch); a != 0 {
			t.Errorf("policy %s: %v allocations an operation", policy, a)
		}
	}
}

// Addresses are all that a cache takes before it is used.
func TestClosedCacheAnswersNothing(t *testing.T) {
	c := newCache(t, Options{BudgetBytes: 1 << 20})
	c.InsertAfterMiss([]byte("k"), 1, []byte("v"), 0, 1, 2)
	c.Close()
	c.Close()
	c.Update([]byte("k"), 1, []byte("v"), 0, 1)
	if r := c.Lookup([]byte("k"), 1); r.Kind != Miss {
		t.Errorf("closed cache answers %v", r.Kind)
	}
}
