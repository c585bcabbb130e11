package history

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// op reads "client kind value call return [outcome]"; value - is a missing one.
func op(t *testing.T, line string) Operation {
	t.Helper()
	o := Operation{Key: "k", Outcome: OK}
	var outcome string
	if _, err := fmt.Sscan(line+" ok", &o.Client, &o.Kind, &o.Value, &o.Call, &o.Return, &outcome); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	o.Outcome = Outcome(outcome)
	if o.Value == "-" {
		o.Value, o.Missing = "", o.Kind == Get
	}
	return o
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []string
		want Verdict
	}{
		{"read your write", []string{"1 put a 0 1", "1 get a 2 3"}, Linearizable},
		{"stale read", []string{"1 put a 0 1", "1 put b 2 3", "2 get a 4 5"}, Violated},
		{"concurrent read may see either", []string{"1 put a 0 1", "1 put b 2 9", "2 get a 3 4", "3 get b 5 6"}, Linearizable},
		{"but not go back", []string{"1 put a 0 1", "1 put b 2 9", "3 get b 3 4", "2 get a 5 6"}, Violated},
		{"deleted key is back", []string{"1 put a 0 1", "1 delete - 2 3", "2 get a 4 5"}, Violated},
		{"missing after delete", []string{"1 put a 0 1", "1 delete - 2 3", "2 get - 4 5"}, Linearizable},
		{"lost write", []string{"1 put a 0 1", "2 get - 4 5"}, Violated},
		{"failed write is not seen", []string{"1 put a 0 1 failed", "2 get - 4 5"}, Linearizable},
		{"failed write is seen", []string{"1 put a 0 1 failed", "2 get a 4 5"}, Violated},
		{"unknown write may show late", []string{"1 put a 0 1", "1 put b 2 3 unknown", "2 get a 4 5", "2 get b 6 7"}, Linearizable},
		{"unknown write may never show", []string{"1 put a 0 1", "1 put b 2 3 unknown", "2 get a 4 5", "2 get a 6 7"}, Linearizable},
		{"unknown write does not show and hide", []string{"1 put a 0 1", "1 put b 2 3 unknown", "2 get b 4 5", "2 get a 6 7"}, Violated},
		{"unknown delete may show late", []string{"1 put a 0 1", "1 delete - 2 3 unknown", "2 get a 4 5", "2 get - 6 7"}, Linearizable},
		{"value from nowhere", []string{"2 get x 4 5"}, Violated},
		{"same value twice", []string{"1 put a 0 1", "1 put a 2 3"}, Violated},
		{"set grows", []string{"1 add b 0 1", "2 add a 2 3", "3 get ab 4 5"}, Linearizable},
		{"member twice", []string{"1 add b 0 1", "2 add b 2 3", "3 get b 4 5"}, Linearizable},
		{"lost member", []string{"1 add a 0 9", "2 add b 1 8", "3 get b 10 11"}, Violated},
		{"member not added yet", []string{"1 add a 0 1", "3 get ab 2 3", "2 add b 4 5"}, Violated},
		{"set deleted", []string{"1 add a 0 1", "2 delete - 2 3", "1 add b 4 5", "3 get b 6 7"}, Linearizable},
		{"deleted member is back", []string{"1 add a 0 1", "2 delete - 2 3", "1 add b 4 5", "3 get ab 6 7"}, Violated},
		{"unknown member may show late", []string{"1 add a 0 1", "2 add b 2 3 unknown", "3 get a 4 5", "3 get ab 6 7"}, Linearizable},
		{"failed member does not", []string{"1 add a 0 1", "2 add b 2 3 failed", "3 get ab 6 7"}, Violated},
		{"put among adds", []string{"1 add a 0 1", "2 put b 2 3"}, Violated},
		{"causal value replaced", causal("1 merge 1|a 0 1", "2 merge 11|b 2 3", "3 get 11|b 4 5"), Linearizable},
		{"concurrent causal values kept", causal("1 merge 1|a 0 1", "2 merge 01|b 2 3", "3 get 11|ab 4 5"), Linearizable},
		{"causal value that is void", causal("1 merge 2|b 0 1", "2 merge 1|a 2 3", "3 get 2|b 4 5"), Linearizable},
		{"equal clocks", causal("1 merge 1|a 0 1", "2 merge 1|b 2 3", "3 get 1|ab 4 5"), Linearizable},
		{"lost causal value", causal("1 merge 1|a 0 9", "2 merge 01|b 1 8", "3 get 01|b 10 11"), Violated},
		{"causal value that was replaced is back", causal("1 merge 1|a 0 1", "2 merge 11|b 2 3", "3 get 11|ab 4 5"), Violated},
		{"deleted causal value is back", causal("1 merge 1|a 0 1", "2 delete - 2 3", "2 merge 01|b 4 5", "3 get 11|ab 6 7"), Violated},
		{"unknown causal value may show late", causal("1 merge 1|a 0 1", "2 merge 01|b 2 3 unknown", "3 get 1|a 4 5", "3 get 11|ab 6 7"), Linearizable},
		{"add among merges", causal("1 merge 1|a 0 1", "1 add b 2 3"), Violated},
		{"unknown read says nothing", []string{"1 put a 0 1", "2 get zzz 4 5 unknown"}, Linearizable},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ops []Operation
			for _, line := range c.ops {
				ops = append(ops, op(t, line))
			}
			report := Check(ops, time.Minute, nil)
			if report.Verdict != c.want {
				t.Errorf("%s, want %s: %+v", report.Verdict, c.want, report.Bad)
			}
		})
	}
}

// causal writes clocks out: 12|a is the clock whose first two places are 001 and 002.
func causal(lines ...string) []string {
	for i, line := range lines {
		fields := strings.Fields(line)
		counts, letters, ok := strings.Cut(fields[2], "|")
		if !ok {
			continue
		}
		clock := ""
		for _, count := range counts + strings.Repeat("0", CausalWriters-len(counts)) {
			clock += "00" + string(count)
		}
		fields[2] = clock + "|" + letters
		lines[i] = strings.Join(fields, " ")
	}
	return lines
}

// TestRandomHistories makes histories of a real register with random points of effect, which must pass, and
// then lets one read lie, which must be found.
func TestRandomHistories(t *testing.T) {
	rng := random.New(random.Seed(t))
	lies := 0
	for range 50 {
		var ops []Operation
		state := register{}
		at := int64(0)
		for i := range 400 {
			at += int64(rng.IntN(5)) + 1
			o := Operation{Key: "k", Client: i, Outcome: OK, Call: max(0, at-int64(rng.IntN(8))), Return: at + int64(rng.IntN(8))}
			switch rng.IntN(5) {
			case 0, 1:
				o.Kind, o.Value = Put, fmt.Sprint(i)
				if rng.IntN(8) == 0 {
					o.Outcome = Unknown
				}
				if o.Outcome == OK || rng.IntN(2) == 0 {
					state = register{o.Value, true}
				}
			case 2:
				o.Kind = Delete
				state = register{}
			default:
				o.Kind, o.Value, o.Missing = Get, state.value, !state.present
			}
			ops = append(ops, o)
		}
		if r := Check(ops, time.Minute, nil); r.Verdict != Linearizable {
			t.Fatalf("a true history is %s: %+v", r.Verdict, r.Bad)
		}
		for i := len(ops) - 1; i >= 0; i-- { // the last read sees the oldest overwritten value
			if ops[i].Kind == Get && ops[i].Call > 500 {
				for _, w := range ops {
					if w.Kind == Put && w.Outcome == OK && w.Return < 100 {
						ops[i].Value, ops[i].Missing = w.Value, false
						lies++
						if r := Check(ops, time.Minute, nil); r.Verdict != Violated {
							t.Fatalf("a lie is %s", r.Verdict)
						}
						break
					}
				}
				break
			}
		}
	}
	if lies < 25 {
		t.Fatalf("only %d histories had room for a lie", lies)
	}
}

func TestRecorderRoundTrip(t *testing.T) {
	var file bytes.Buffer
	c := clock.NewManual(time.Unix(0, 0))
	r := NewRecorder(&file, c)
	call := r.Now()
	c.Advance(time.Millisecond)
	want := Operation{Client: 3, Kind: Get, Key: "a\"b", Missing: true, Outcome: OK, Call: call, Return: r.Now()}
	r.Add(want)
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&file)
	if err != nil || len(got) != 1 || got[0] != want {
		t.Fatalf("%v, %v", got, err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestRecorderTellsOfLoss(t *testing.T) {
	r := NewRecorder(fullDisk{}, clock.Real{})
	r.Add(Operation{})
	if r.Flush() == nil {
		t.Fatal("an incomplete history passes for a whole one")
	}
}

func TestReadRefuses(t *testing.T) {
	for _, line := range []string{
		`{`, `{"kind":"put","outcome":"ok","call":5,"return":4}`, `{"kind":"pat","outcome":"ok"}`,
		`{"kind":"put","outcome":"maybe"}`, `{"kind":"put","outcome":"ok","missing":true}`, `{"kind":"add","outcome":"ok","value":"ab"}`,
		`{"kind":"merge","outcome":"ok","value":"1|a"}`, `{"kind":"get","outcome":"ok","call":-1}`,
	} {
		if _, err := Read(strings.NewReader("\n" + line + "\n")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestVisualize(t *testing.T) {
	report := Check([]Operation{op(t, "1 put a 0 1"), op(t, "1 put b 2 3"), op(t, "2 get a 4 5")}, time.Minute, nil)
	var page bytes.Buffer
	if err := report.Bad[0].Visualize(&page); err != nil || !strings.Contains(page.String(), "get -") {
		t.Fatalf("%v, %d bytes", err, page.Len())
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"client":1,"kind":"put","key":"k","value":"v","outcome":"ok","call":1,"return":2}`))
	f.Add([]byte("{}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := Read(bytes.NewReader(b))
		if err == nil && len(ops) < 8 {
			Check(ops, time.Second, nil)
		}
	})
}
