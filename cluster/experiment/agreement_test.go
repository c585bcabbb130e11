package experiment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/dac/replay"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// agreementTrace is one sequence of operations: keys written once, then read by Zipf's law.
type agreementTrace struct {
	keys  int
	value []byte
	reads []string
}

func newAgreementTrace(t *testing.T, keys, reads, valueBytes int) *agreementTrace {
	s, err := zipf.NewSampler(uint64(keys), 0.99)
	if err != nil {
		t.Fatal(err)
	}
	rng := random.New(random.Seed(t))
	a := &agreementTrace{keys: keys, value: make([]byte, valueBytes)}
	for range reads {
		a.reads = append(a.reads, keyName(s.Next(rng)+1))
	}
	return a
}

// file writes the trace as dac/trace reads it. What a KN caches is the value as it is on the wire.
func (a *agreementTrace) file(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "trace")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	stored := len(lattice.LWWValue{Timestamp: uint64(time.Now().UnixNano()), Value: a.value}.Append(nil))
	for k := range a.keys {
		fmt.Fprintf(w, "U %s %d\n", keyName(uint64(k)+1), stored)
	}
	for _, key := range a.reads {
		fmt.Fprintf(w, "G %s %d\n", key, stored)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReplayAgreesWithTheCluster: the same trace through a KN and through the replay has the same hits, within one percentage
// point.
func TestReplayAgreesWithTheCluster(t *testing.T) {
	const cacheBytes = 512 << 10
	a := newAgreementTrace(t, 20_000, 60_000, 250)
	path := a.file(t)
	for _, policy := range []string{"paper", "adaptive", "static:0.5"} {
		t.Run(policy, func(t *testing.T) {
			o := options(t)
			o.EnsureDefaults()
			o.CacheBytes = cacheBytes
			c, err := o.up(t.Context(), "cluster", cluster.Topology{KNs: 1}, "kvs_config.cache-policy="+policy)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got := a.run(t, c)
			counted := len(a.reads) / 2
			want, err := replay.Run(replay.Config{
				Trace: path, Policy: policy, CacheBytes: cacheBytes, NoOptimum: true,
				Warmup: float64(a.keys+len(a.reads)-counted) / float64(a.keys+len(a.reads)),
			})
			if err != nil {
				t.Fatal(err)
			}
			r := got.Ratios()
			t.Logf("cluster: %d reads, values %.4f shortcuts %.4f unmerged %.4f misses %.4f; replay: %d reads, values %.4f shortcuts %.4f misses %.4f",
				got.Reads, r.ValueHit, r.ShortcutHit, r.UnmergedHit, r.Miss, want.Reads, want.ValueHitRatio, want.ShortcutHitRatio, want.MissRatio)
			if got.Reads != uint64(counted) || want.Reads != uint64(counted) {
				t.Fatalf("%d and %d reads were counted, want %d", got.Reads, want.Reads, counted)
			}
			if want.ValueHitRatio < 0.1 || want.MissRatio > 0.9 {
				t.Errorf("a trace that tells nothing: %+v", want)
			}
			for name, d := range map[string]float64{
				"value hits": r.ValueHit - want.ValueHitRatio, "hits": r.ValueHit + r.ShortcutHit - want.ValueHitRatio - want.ShortcutHitRatio,
			} {
				if math.Abs(d) > 0.01 {
					t.Errorf("%s differ by %.2f percentage points", name, 100*d)
				}
			}
		})
	}
}

// run plays the trace against the cluster's one KN, in order, and returns what it counted in the second half of the reads.
func (a *agreementTrace) run(t *testing.T, c *cluster.Cluster) figures.Counters {
	t.Helper()
	top := c.Topology()
	routing, err := top.Routing(c.Plan(), 1)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Options{Routing: routing, IP: top.Network.Tool(2), LocalIP: cluster.DialFrom(top.Network.Tool(2)), AnyPort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	asker, err := cluster.NewAsker(top.Network.Tool(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	statistics := func() *messages.KnStatistics {
		to, err := c.Plan().Address(top.Network.KN(0), messages.KNControl, 0)
		if err != nil {
			t.Fatal(err)
		}
		report, err := asker.Statistics(ctx, to.String())
		if err != nil || len(report.GetThreads()) != 1 {
			t.Fatalf("statistics: %v, %v", report, err)
		}
		return report.GetThreads()[0]
	}
	play := func(t messages.RequestType, keys []string) error {
		// Few at a time: of reads in one batch the later ones see what the earlier ones found only afterwards.
		const together = 8
		for from := 0; from < len(keys); from += together {
			var ops []client.Operation
			for _, key := range keys[from:min(from+together, len(keys))] {
				ops = append(ops, client.Operation{Type: t, Key: key, Value: a.value})
			}
			for _, out := range cl.Do(ctx, ops...) {
				if out.Err != nil {
					return out.Err
				}
			}
		}
		return nil
	}
	var written []string
	for k := range a.keys {
		written = append(written, keyName(uint64(k)+1))
	}
	half := len(a.reads) / 2
	if err := errors.Join(play(messages.RequestType_PUT, written), play(messages.RequestType_GET, a.reads[:half])); err != nil {
		t.Fatal(err)
	}
	before := statistics()
	if err := play(messages.RequestType_GET, a.reads[half:]); err != nil {
		t.Fatal(err)
	}
	return figures.Between(before, statistics())
}
