package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// rig is a fake cluster and the options of benchmark threads for it.
func rig(t testing.TB, threads int) (*clienttest.Cluster, Options) {
	t.Helper()
	cluster, err := clienttest.Start(clienttest.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, Options{Threads: threads, AnyPort: true, Seed: 1, Client: client.Options{Routing: []string{cluster.Routing()}}}
}

func group(t testing.TB, o Options) *Group {
	t.Helper()
	g, err := NewGroup(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func parse(t testing.TB, line string) command.Command {
	t.Helper()
	c, err := command.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func do(t testing.TB, r Runner, line string) *Result {
	t.Helper()
	result, err := r.RunCommand(context.Background(), parse(t, line))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if result.Reads.Count()+result.Writes.Count() != result.Operations || result.InTime > result.Operations {
		t.Errorf("BENCH-1: %s: %d reads, %d writes, %d operations, %d in time", line, result.Reads.Count(), result.Writes.Count(),
			result.Operations, result.InTime)
	}
	return result
}

func TestDinomoCommands(t *testing.T) {
	cluster, o := rig(t, 2)
	g := group(t, o)
	r := do(t, g, "LOAD:1001:100:2:1")
	if r.Operations != 1001 || r.Writes.Count() != 1001 || cluster.Keys() != 1001 || len(r.Errors) > 0 || r.Throughput() <= 0 {
		t.Errorf("LOAD: %+v, %d keys", r.Summary(), cluster.Keys())
	}
	if !cluster.Has("1") || !cluster.Has("1001") || cluster.Has("0") {
		t.Error("LOAD: wrong keys")
	}
	if _, err := g.RunCommand(context.Background(), parse(t, "WARM-RUN:1:100:1:1:8")); !errors.Is(err, ErrRefused) {
		t.Errorf("WARM-RUN before WARM: %v", err)
	}
	if r = do(t, g, "WARM:1001:100:500:0.99"); r.Operations != 1000 || r.Reads.Count() != 1000 || len(r.Errors) > 0 {
		t.Errorf("WARM: %+v", r.Summary())
	}
	if r = do(t, g, "WARM-RUN:0.5:100:0.1:0.3:8"); r.Reads.Count() == 0 || r.Writes.Count() == 0 || cluster.Keys() != 1001 || len(r.Errors) > 0 {
		t.Errorf("WARM-RUN: %+v, %d keys", r.Summary(), cluster.Keys())
	}
	if r = do(t, g, "RUN:0.5:1001:100:0.1:0.3:0.99:8"); r.Reads.Count() == 0 || r.Writes.Count() == 0 || cluster.Keys() != 1001 || len(r.Errors) > 0 {
		t.Errorf("RUN: %+v, %d keys", r.Summary(), cluster.Keys())
	}
	r = do(t, g, "RUN:0.5:1001:100:0.1:0.2:0:8:0")
	if inserted := cluster.Keys() - 1001; uint64(inserted) != r.Writes.Count() || len(r.Errors) > 0 {
		t.Errorf("RUN with inserts: %d inserted, %d writes, %v", inserted, r.Writes.Count(), r.Errors)
	}
	before, writes := cluster.Keys(), do(t, g, "WARM-RUN:0:100:0.1:0.2:8:1001:0").Writes.Count()
	if uint64(cluster.Keys()-before) != writes {
		t.Errorf("WARM-RUN with inserts: %d inserted, %d writes", cluster.Keys()-before, writes)
	}
}

func TestAnnaCommands(t *testing.T) {
	cluster, o := rig(t, 1)
	g := group(t, o)
	if do(t, g, "WARM:500:10:1"); cluster.Keys() != 500 || !cluster.Has("00000001") || !cluster.Has("00000500") {
		t.Errorf("WARM: %d keys", cluster.Keys())
	}
	if r := do(t, g, "CACHE:500"); r.Reads.Count() != 500 || len(r.Errors) > 0 {
		t.Errorf("CACHE: %+v", r.Summary())
	}
	for kind, want := range map[string][2]bool{"G": {true, false}, "P": {false, true}, "M": {true, true}} {
		r := do(t, g, "LOAD:"+kind+":500:10:1:0.2:0.99")
		if got := [2]bool{r.Reads.Count() > 0, r.Writes.Count() > 0}; got != want || len(r.Errors) > 0 {
			t.Errorf("LOAD:%s: %+v", kind, r.Summary())
		}
	}
	if cluster.Keys() != 500 {
		t.Errorf("%d keys afterwards", cluster.Keys())
	}
}

func TestYCSBCommands(t *testing.T) {
	_, o := rig(t, 2)
	g := group(t, o)
	do(t, g, "LOAD:1000:100:2:1")
	for _, w := range "ABCDEF" {
		r := do(t, g, fmt.Sprintf("YCSB:%c:1000:100:1:0.2:0.99:16", w))
		if r.Operations < 20 || len(r.Errors) > 0 || (r.Writes.Count() > 0) != (w != 'C') {
			t.Errorf("%c: %+v", w, r.Summary())
		}
	}
}

func TestErrorsAreCounted(t *testing.T) {
	cluster, o := rig(t, 1)
	g := group(t, o)
	if r := do(t, g, "RUN:1:100:10:1:0.1:0:4"); r.Errors["KEY_DNE"] != r.Operations || r.Failed() != 0 || r.FirstError == "" {
		t.Errorf("nothing loaded: %+v", r.Summary())
	}
	cluster.Refuse(0, messages.AnnaError_NO_SPACE)
	cluster.Refuse(1, messages.AnnaError_NO_SPACE)
	if r := do(t, g, "LOAD:50:10:1:1"); r.Errors["NO_SPACE"] != 50 || r.Failed() != 50 {
		t.Errorf("full: %+v", r.Summary())
	}
	for line, want := range map[string]string{"ADD:1": "management", "LOAD:10:1:2:1": "missing", "LOAD:10:1:1:2": "missing"} {
		r, err := g.RunCommand(context.Background(), parse(t, line))
		if !errors.Is(err, ErrRefused) || !strings.Contains(r.Refusal, want) {
			t.Errorf("%s: %v, %q", line, err, r.Refusal)
		}
	}
}

func TestContextEndsAPhase(t *testing.T) {
	cluster, o := rig(t, 1)
	g := group(t, o)
	cluster.Mute(0, true) // so that it could not end by itself
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	r, err := g.RunCommand(ctx, parse(t, "RUN:0.5:100:10:1:600:0:4"))
	if !errors.Is(err, context.DeadlineExceeded) || r == nil {
		t.Errorf("%v", err)
	}
}

func TestPeriodsAndProgress(t *testing.T) {
	_, o := rig(t, 1)
	var seen []Progress
	o.Progress = func(p Progress) { seen = append(seen, p) }
	th, err := NewThread(o, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer th.Close()
	var periods []Period
	line := "RUN:0:100:10:0.02:2:0:4" // a hundred periods: three of them end on the busiest machine
	r, err := th.Run(context.Background(), parse(t, line), func(p Period) { periods = append(periods, p) })
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, p := range periods {
		sum += p.Latencies.Count()
	}
	if len(periods) < 3 || sum == 0 || sum > r.Operations {
		t.Errorf("%d periods with %d operations of %d", len(periods), sum, r.Operations)
	}
	last := seen[len(seen)-1]
	if len(seen) != len(periods)+1 || !last.Finished || last.Fraction() != 1 || last.Operations != r.Operations || last.Command != line {
		t.Errorf("%d progress calls; the last %+v", len(seen), last)
	}
	if f := seen[0].Fraction(); f <= 0 || f > 1 {
		t.Errorf("the first at %g", f)
	}
}

// BENCH-3: the keys of a thread follow from the seed, the command and the thread's number.
func TestSameSeedSameKeys(t *testing.T) {
	keysOf := func(seed uint64, index int) *sequence {
		_, o := rig(t, 2)
		o.Seed = seed
		th, err := NewThread(o, index)
		if err != nil {
			t.Fatal(err)
		}
		defer th.Close()
		if _, err := th.prepare(parse(t, "WARM:100000:8:1000:0.99")); err != nil {
			t.Fatal(err)
		}
		return th.drawn
	}
	same := func(a, b *sequence) bool { return fmt.Sprint(a.small) == fmt.Sprint(b.small) }
	if a := keysOf(7, 0); !same(a, keysOf(7, 0)) || same(a, keysOf(8, 0)) || same(a, keysOf(7, 1)) {
		t.Error("keys do not follow from seed and thread alone")
	}
}

func BenchmarkRun(b *testing.B) {
	for _, outstanding := range []int{64, 256} {
		b.Run(fmt.Sprintf("outstanding=%d", outstanding), func(b *testing.B) {
			cluster, o := rig(b, 1)
			o.Client.MaxTuplesPerRequest = 1
			g := group(b, o)
			for n := uint64(1); n <= 10_000; n++ {
				cluster.Load(plain(n), make([]byte, 256))
			}
			for b.Loop() {
				r := do(b, g, fmt.Sprintf("RUN:0.95:10000:256:1:1:0.99:%d", outstanding))
				b.ReportMetric(r.Throughput(), "ops/s")
				b.ReportMetric(r.All().Summary().P99, "p99-us")
			}
		})
	}
}
