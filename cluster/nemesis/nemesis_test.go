package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

func TestValuesTellOfDamage(t *testing.T) {
	rng := random.New(random.Seed(t))
	for n := range 200 {
		name, value := makeValue(7, n, rng.IntN(300))
		if got, whole := parseValue(value); !whole || got != name {
			t.Fatalf("%q reads back as %q", value, got)
		}
		_, other := makeValue(8, n, 300)
		for _, damaged := range [][]byte{
			value[:len(value)-1], append(slices.Clone(value), 'a'), append(slices.Clone(value[:len(value)/2]), other[len(value)/2:len(value)]...), nil,
		} {
			if got, whole := parseValue(damaged); whole && string(damaged) != string(value) {
				t.Fatalf("%q passes for %q", damaged, got)
			}
		}
	}
}

func TestScheduleFollowsFromTheSeed(t *testing.T) {
	o := Options{Directory: "x", Seed: random.Seed(t)}
	o.EnsureDefaults()
	draws := func(seed uint64, names ...string) string {
		o.Faults = names
		s, err := newSchedule(&o, random.New(seed), true)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for range 50 {
			d := s.next()
			if d.length <= 0 || d.length > o.Longest || d.after < 0 {
				t.Fatalf("%+v", d)
			}
			fmt.Fprintln(&b, d.number, d.fault.name, d.after, d.length, d.a, d.b, d.c)
		}
		return b.String()
	}
	if first, again := draws(o.Seed), draws(o.Seed); first != again {
		t.Error("a seed gives two schedules")
	}
	if draws(o.Seed) == draws(o.Seed+1) {
		t.Error("two seeds give one schedule")
	}
	if all := draws(o.Seed, "pause-kn"); strings.Count(all, "pause-kn") != 50 {
		t.Error("a fault that was not asked for")
	}
}

func TestFaultsThatCannotBeMade(t *testing.T) {
	o := Options{Directory: "x"}
	o.EnsureDefaults()
	s, err := newSchedule(&o, random.New(1), false)
	if err != nil || slices.ContainsFunc(s.chosen, func(f *fault) bool { return f.cuts }) {
		t.Errorf("%v: links are to be cut where that is impossible", err)
	}
	o.Faults = []string{"cut-kn-dpm"}
	if _, err := newSchedule(&o, random.New(1), false); !errors.Is(err, ErrNoFilter) || !strings.Contains(err.Error(), "nftables") {
		t.Errorf("%v", err)
	}
	o.Faults = []string{"meteor"}
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "pause-kn") {
		t.Errorf("%v", err)
	}
}

func TestConclude(t *testing.T) {
	timeout := fmt.Errorf("put: %w", messages.ErrTimeout)
	for _, c := range []struct {
		name string
		kind history.Kind
		err  error
		want history.Outcome
	}{
		{"done", history.Put, nil, history.OK},
		{"no answer", history.Put, timeout, history.Unknown},
		{"the context ended before an answer", history.Put, errors.Join(context.DeadlineExceeded, messages.ErrTimeout), history.Unknown},
		{"the context ended before it was sent", history.Put, context.DeadlineExceeded, history.Failed},
		{"refused", history.Put, messages.ErrOverloaded, history.Failed},
		{"refused after an attempt without answer", history.Put, fmt.Errorf("%w, %w", messages.ErrOverloaded, messages.ErrTimeout), history.Unknown},
		{"nothing to delete", history.Delete, messages.ErrKeyDoesNotExist, history.OK},
		{"an error that nobody knows", history.Put, errors.New("?"), history.Unknown},
		{"a closed client", history.Put, client.ErrClosed, history.Unknown},
		{"a read without answer", history.Get, timeout, history.Unknown},
		{"a key that is missing", history.Get, messages.ErrKeyDoesNotExist, history.OK},
	} {
		r := history.Operation{Kind: c.kind}
		conclude(&r, &client.Outcome{Err: c.err})
		if r.Outcome != c.want || r.Missing != (c.kind == history.Get && c.want == history.OK) {
			t.Errorf("%s: %+v, want %s", c.name, r, c.want)
		}
	}
}

func TestSetsAreRetired(t *testing.T) {
	k := &keys{cold: 1}
	place := hotKeys - 1
	first := k.useHot(place)
	k.retire(first)
	second := k.useHot(place)
	if first == second || !isSet(first) || !isSet(second) {
		t.Errorf("%s is followed by %s", first, second)
	}
	k.retire(first) // again: it is over already
	if now := k.hotNow(place); now != second {
		t.Errorf("%s is followed by %s although it was not retired", second, now)
	}
	if all := k.all(); !slices.Contains(all, first) || !slices.Contains(all, second) {
		t.Errorf("%s and %s are not among all keys", first, second)
	}
}

func TestConcludeReadsSets(t *testing.T) {
	of := func(members ...string) *client.Outcome {
		var v lattice.SetValue
		for _, m := range members {
			v = append(v, []byte(m))
		}
		return &client.Outcome{Lattice: lattice.Set, Payload: v.Append(nil)}
	}
	for name, c := range map[string]struct {
		key  string
		o    *client.Outcome
		want string
	}{
		"a set":                   {hotKey(hotKeys-1, 3), of("a", "b", "x"), "abx"},
		"a value where sets are":  {hotKey(hotKeys-1, 3), &client.Outcome{Lattice: lattice.LWW}, "value of another lattice"},
		"a set where values are":  {hotKey(0, 3), of("a"), "value of another lattice"},
		"a set that is not whole": {hotKey(hotKeys-1, 3), &client.Outcome{Lattice: lattice.Set, Payload: []byte{0xff}}, "damaged"},
	} {
		r := history.Operation{Kind: history.Get, Key: c.key}
		conclude(&r, c.o)
		if r.Outcome != history.OK || !strings.HasPrefix(r.Value, c.want) {
			t.Errorf("%s: %+v, want %q", name, r, c.want)
		}
	}
}

func TestHotKeysAreReplaced(t *testing.T) {
	k := keys{cold: 10}
	first := k.hotNow(0)
	for range hotLife {
		k.useHot(0)
	}
	all := k.all()
	if k.hotNow(0) == first || !slices.Contains(all, first) || !slices.Contains(all, k.hotNow(0)) {
		t.Errorf("%s after %s of %v", k.hotNow(0), first, all)
	}
	if want := hotKeys + 1 + warmKeys + 10; len(all) != want {
		t.Errorf("%d keys, want %d", len(all), want)
	}
	rng := random.New(random.Seed(t))
	for range 100 {
		if some := k.several(rng, 5); len(some) != len(slices.Compact(slices.Sorted(slices.Values(some)))) {
			t.Fatalf("a key twice in %v", some)
		}
	}
}

func op(client int, kind history.Kind, value string, call, end int64) history.Operation {
	return history.Operation{
		Client: client, Kind: kind, Key: "k", Value: value, Missing: kind == history.Get && value == "", Outcome: history.OK,
		Call: call * int64(time.Millisecond), Return: end * int64(time.Millisecond),
	}
}

func TestExplainFindsTheFirst(t *testing.T) {
	ops := []history.Operation{
		op(1, history.Put, "1.1", 0, 10), op(2, history.Get, "1.1", 11, 12), op(1, history.Put, "1.2", 13, 20),
		op(3, history.Get, "1.1", 14, 15), op(3, history.Get, "1.2", 16, 17), op(2, history.Get, "1.1", 18, 19), // back again
		op(4, history.Get, "1.2", 30, 31),
	}
	text := explain(ops, "k", time.Minute)
	marked := ""
	for line := range strings.Lines(text) {
		if strings.Contains(line, " > ") {
			marked += line
		}
	}
	if !strings.Contains(marked, "0.018000 to 0.019000") || strings.Count(marked, "\n") != 1 {
		t.Errorf("%q in\n%s", marked, text)
	}
	if text := explain(ops[:3], "k", time.Minute); text != "" {
		t.Errorf("a good history is explained away: %s", text)
	}
}

func TestGaps(t *testing.T) {
	failed := op(1, history.Put, "1.3", 1100, 1500)
	failed.Outcome = history.Unknown
	other := op(3, history.Get, "", 1200, 1210)
	other.Key = "other"
	ops := []history.Operation{
		op(1, history.Put, "1.1", 0, 10), op(1, history.Put, "1.2", 990, 1000), // nobody asked for a second
		failed, other, op(1, history.Get, "1.2", 1500, 2000),
	}
	events := []Event{{At: 1050 * time.Millisecond, Number: 3, Fault: "kill-kn"}, {At: 10 * time.Second, Number: 4, Fault: "join"}}
	got := waits(ops, events)
	if len(got) != 1 || got[0].From != 1100*time.Millisecond || got[0].Until != 2*time.Second || !slices.Equal(got[0].Faults, []string{"3 kill-kn"}) {
		t.Errorf("waits %+v", got)
	}
	quiet := silences(ops, nil)
	if len(quiet) != 3 || quiet[0].Length() != 990*time.Millisecond || quiet[1].Length() != 790*time.Millisecond {
		t.Errorf("silences %+v", quiet)
	}
}
