package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

func TestReplayAndCompare(t *testing.T) {
	_, o := rig(t, 1)
	g := group(t, o)
	commands, err := ReadCommands(strings.NewReader("# a story\nLOAD:100:10:1:1\n\n WARM:100:10:50:0.99 # warm\nADD:1\nRUN:0.9:100:10:1:0.1:0.99:4\n"))
	if err != nil {
		t.Fatal(err)
	}
	heard := 0
	first, err := Replay(context.Background(), g, commands, func(Summary) { heard++ })
	if err != nil {
		t.Fatal(err)
	}
	if heard != 4 || len(first.Phases) != 4 || first.Phases[2].Refusal == "" || first.Phases[3].Operations == 0 {
		t.Errorf("%d heard, %+v", heard, first)
	}
	var file bytes.Buffer
	first.Label = "one"
	if _, err := first.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	second, err := ReadRecording(&file)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range Compare(first, second) {
		if d.OnlyIn != "" || d.Throughput.First != d.Throughput.Second || d.Throughput.First > 0 && d.ThroughputRatio != 1 {
			t.Errorf("a recording differs from itself: %+v", d)
		}
	}
	if _, err := ReadCommands(strings.NewReader("LOAD:1:1:1:1\nnonsense")); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("%v", err)
	}
	if _, err := ReadRecording(strings.NewReader("{")); err == nil {
		t.Error("half a recording")
	}
}

func summary(command string, ops uint64, seconds float64, p time.Duration) Summary {
	r := newResult(command)
	r.Operations, r.InTime, r.Seconds = ops, ops, seconds
	for range ops {
		r.Reads.Record(p)
	}
	r.Errors["TIMEOUT"] = 1
	return r.Summary()
}

func TestComparisonTable(t *testing.T) {
	a := Recording{Label: "abc", Phases: []Summary{summary("LOAD:1:1:1:1", 10, 1, time.Millisecond), summary("CACHE:1", 5, 1, time.Millisecond), summary("FAIL:1", 1, 1, 1)}}
	b := Recording{Label: "def", Phases: []Summary{summary("LOAD:1:1:1:1", 30, 2, 2*time.Millisecond), summary("FAIL:1", 1, 1, 1), summary("ADD:1", 1, 1, 1)}}
	var out strings.Builder
	WriteComparison(&out, a.Label, b.Label, Compare(a, b))
	want := `first: abc
second: def
command                                                 operations/s   ratio              p50 us              p99 us      failures
LOAD:1:1:1:1                                          10          15   1.500      1000      2001      1000      2001      1      1
CACHE:1                                      only in abc
FAIL:1                                                 1           1   1.000         0         0         0         0      1      1
ADD:1                                        only in def
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestSummaryNames(t *testing.T) {
	b, err := json.Marshal(summary("RUN", 2, 1, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"operations":2`, `"throughput_ops_per_second":2`, `"latency_us":{"mean":`, `"p50":`, `"p99":`, `"p999":`, `"max":`, `"errors":{"TIMEOUT":1}`} {
		if !strings.Contains(string(b), name) {
			t.Errorf("%s is not in %s", name, b)
		}
	}
}

func TestResultText(t *testing.T) {
	r := newResult("RUN:0.5:10:1:1:1:0:1")
	r.Operations, r.InTime, r.Seconds, r.FirstError = 2, 2, 2, "why"
	r.Errors["KEY_DNE"], r.Errors["ABC"] = 1, 2
	r.Reads.Record(time.Millisecond)
	r.Writes.Record(2 * time.Millisecond)
	var out strings.Builder
	r.Summary().WriteText(&out)
	want := `RUN:0.5:10:1:1:1:0:1
  2 operations in 2.00 s on 1 threads: 1 a second
  reads           1   mean 1000  p50 1000  p99 1000  p99.9 1000  max 1000 us
  writes          1   mean 2000  p50 2001  p99 2001  p99.9 2001  max 2001 us
  errors: ABC 2, KEY_DNE 1
  KEY_DNE: keys that were read do not exist; LOAD as many as this command names first
  one of them: why
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestReportRoundTrip(t *testing.T) {
	r := newResult("RUN")
	r.Operations, r.InTime, r.Seconds = 3, 3, 1.5
	r.Reads.Record(time.Millisecond)
	r.Reads.Record(time.Second)
	r.Writes.Record(time.Microsecond)
	r.Errors["TIMEOUT"] = 1
	m, err := r.Report("u", false)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := messages.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var again messages.BenchReport
	if err := messages.Unmarshal(frame, &again); err != nil {
		t.Fatal(err)
	}
	back, err := ResultOf(&again)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(back.Summary())
	want, _ := json.Marshal(r.Summary())
	if string(got) != string(want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	all, err := latency.Decode(again.LatencyHistogram)
	if err != nil || all.Count() != 3 {
		t.Errorf("%v", err)
	}
}

func FuzzResultOf(f *testing.F) {
	m, err := newResult("RUN").Report("u", true)
	if err != nil {
		f.Fatal(err)
	}
	good, _ := messages.Marshal(m)
	f.Add(good)
	f.Add([]byte{0x0a, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m messages.BenchReport
		if messages.Unmarshal(b, &m) != nil {
			return
		}
		if r, err := ResultOf(&m); err == nil {
			Merge(r, r).Summary()
		}
	})
}

func FuzzReadCommands(f *testing.F) {
	f.Add("LOAD:1:1:1:1 # x\n\n#\nRUN:0.9:100:10:1:0.1:0.99:4")
	f.Fuzz(func(t *testing.T, s string) {
		commands, err := ReadCommands(strings.NewReader(s))
		if err == nil && len(commands) > maxFileCommands {
			t.Fatal(len(commands))
		}
	})
}

func FuzzReadRecording(f *testing.F) {
	f.Add(`{"label":"a","seed":1,"phases":[{"command":"RUN","operations":3,"errors":{"TIMEOUT":1}}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ReadRecording(strings.NewReader(s))
		if err == nil {
			Compare(r, Recording{Phases: r.Phases[len(r.Phases)/2:]})
		}
	})
}
