package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/bench"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

func short(backend string) bench.Options {
	return bench.Options{Backend: backend, Duration: time.Millisecond, Sizes: []int{8, 4096}, QueuePairs: []int{1, 2}, Calls: true}
}

// TestRun: every combination is measured, and the report has its figures.
func TestRun(t *testing.T) {
	for _, backend := range []string{"shm", "tcp"} {
		report, err := bench.Run(context.Background(), short(backend))
		if err != nil {
			t.Fatal(err)
		}
		// For each number of queue pairs: READ, WRITE and FLUSH in 2 sizes, CAS and FETCH_ADD in one, each
		// in 2 batches; and 2 calls.
		if want := 2 * ((3*2+2)*2 + 2); len(report.Results) != want {
			t.Errorf("%s: %d results, want %d:\n%s", backend, len(report.Results), want, report)
		}
		for _, r := range report.Results {
			if r.Posts == 0 || r.VerbsPerSecond <= 0 || (r.MegabytesPerSecond <= 0) != (r.Verb == "FLUSH") || r.LatencyMicroseconds.Max < r.LatencyMicroseconds.P50 {
				t.Errorf("%s: %+v", backend, r)
			}
		}
		raw, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{`"fabric":"` + backend, `"verb":"READ"`, `"verbs_per_second":`, `"latency_us":{"mean":`, `"queue_pairs":2`} {
			if !strings.Contains(string(raw), name) {
				t.Errorf("%s: the JSON lacks %s", backend, name)
			}
		}
		if lines := strings.Count(report.String(), "\n"); lines != len(report.Results)+2 {
			t.Errorf("%s: the text has %d lines", backend, lines)
		}
	}
}

type host struct{}

func (host) Admit(fabric.Hello) (fabric.Session, error) {
	return fabric.Session{Rank: 1, Incarnation: 1}, nil
}
func (host) Call(_ fabric.Session, _ uint16, _, reply []byte) []byte { return reply }
func (host) Gone(fabric.Session, uint16)                             {}

// TestLivePool: on a pool of somebody else nothing is changed outside the scratch range.
func TestLivePool(t *testing.T) {
	region, err := pmem.NewVolatile(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tcp.Listen(region, host{}, fabric.ListenOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), region.Close() })
	changed := func() (first, last uint64) {
		for at := uint64(0); at < region.Bytes(); at += 8 {
			if region.Load64(at) != 0 {
				if first == 0 {
					first = at
				}
				last = at
			}
		}
		return first, last
	}
	o := short("tcp")
	o.Address = l.Address()
	report, err := bench.Run(context.Background(), o)
	if err != nil || report.OwnPool {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Verb != "READ" && r.Verb != "CALL" {
			t.Errorf("%s on a live pool without a scratch range", r.Verb)
		}
	}
	if first, last := changed(); last != 0 {
		t.Errorf("words from %#x to %#x were changed", first, last)
	}
	o.Scratch = bench.Range{First: 64 << 10, Next: 96 << 10}
	if _, err = bench.Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if first, last := changed(); first < o.Scratch.First || last >= o.Scratch.Next {
		t.Errorf("words from %#x to %#x were changed, the scratch range is %+v", first, last, o.Scratch)
	}
}

// TestConnect: one process serves, another one measures every verb; and nobody takes a DPM's pool for a scratch one.
func TestConnect(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	addresses, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- bench.Serve(ctx, bench.Options{Backend: "tcp"}, func(address string) { addresses <- address })
	}()
	var address string
	select {
	case address = <-addresses:
	case err := <-ended:
		t.Fatal(err)
	}
	o := short("tcp")
	o.Connect = address
	o.Verbs, _ = bench.ParseVerbs([]string{"write", "FETCH_ADD"})
	report, err := bench.Run(context.Background(), o)
	if err != nil || report.OwnPool || report.Address != address {
		t.Fatalf("%v, %+v", err, report)
	}
	count := map[string]int{}
	for _, r := range report.Results {
		count[r.Verb]++
	}
	if len(count) != 3 || count["WRITE"] != 8 || count["FETCH_ADD"] != 4 || count["CALL"] != 4 {
		t.Errorf("measured: %v", count)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	region, err := pmem.NewVolatile(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tcp.Listen(region, host{}, fabric.ListenOptions{Address: "127.0.0.1:0", Pool: fabric.PoolID{1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), region.Close() })
	o.Connect = l.Address()
	if _, err := bench.Run(context.Background(), o); !errors.Is(err, fabric.ErrWrongPool) || !strings.Contains(err.Error(), "--address") {
		t.Errorf("a DPM's pool: %v", err)
	}
}

func TestParseVerbs(t *testing.T) {
	all, err := bench.ParseVerbs([]string{"read", "Write", "CAS", "fetch_add", "flush"})
	if err != nil || len(all) != fabric.Kinds-1 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := bench.ParseVerbs([]string{"read", "push"}); err == nil || !strings.Contains(err.Error(), "push") {
		t.Errorf("no verb: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]bench.Options{
		"backend": {Backend: "carrier pigeon"}, "batch": {Batches: []int{2000}}, "size": {Sizes: []int{0}},
		"address":     {Address: "127.0.0.1:1", Connect: "127.0.0.1:2"},
		"queue pairs": {QueuePairs: []int{-1}}, "scratch": {Scratch: bench.Range{First: 8, Next: 0}},
	} {
		if _, err := bench.Run(context.Background(), o); err == nil {
			t.Errorf("a bad %s is taken", name)
		}
	}
	if err := ibverbs.Available(); err != nil {
		if _, got := bench.Run(context.Background(), bench.Options{Backend: "ibverbs"}); !errors.Is(got, err) {
			t.Errorf("ibverbs: %v, want %v", got, err)
		}
	}
}

func TestProbe(t *testing.T) {
	region, err := pmem.NewVolatile(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tcp.Listen(region, host{}, fabric.ListenOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), region.Close() })
	verdicts := func(o bench.ProbeOptions) map[string]bench.Verdict {
		report := bench.Probe(context.Background(), o)
		t.Logf("\n%s", report)
		all := map[string]bench.Verdict{}
		for _, c := range report.Checks {
			all[c.Subject] = c.Verdict
		}
		return all
	}
	v := verdicts(bench.ProbeOptions{Directory: t.TempDir(), Address: l.Address(), Backend: "tcp"})
	if v["tcp"] != bench.Good || v["shm"] != bench.Good || v["dpm"] != bench.Good || v["dax"] == "" || v["ibverbs"] == "" {
		t.Errorf("verdicts: %v", v)
	}
	if v = verdicts(bench.ProbeOptions{Address: l.Address(), Backend: "shm"}); v["dpm"] != bench.Bad {
		t.Errorf("a tcp listener probed by shm: %v", v)
	}
	if err := ibverbs.Available(); err != nil && verdicts(bench.ProbeOptions{Backend: "ibverbs"})["ibverbs"] != bench.Bad {
		t.Error("ibverbs was asked for and is not there, which is no failure")
	}
	if v = verdicts(bench.ProbeOptions{Directory: "/does/not/exist"}); v["dax"] != bench.Bad {
		t.Errorf("a directory that is not there: %v", v)
	}
}
