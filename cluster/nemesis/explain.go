package nemesis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client/history"
)

// explain finds the first operation of a key that nothing explains, and shows it with those around it. A history that
// has no order has none however it goes on, so the first moment is found by halving.
func explain(ops []history.Operation, key string, perCheck time.Duration) string {
	var of []history.Operation
	for _, o := range ops {
		if o.Key == key {
			of = append(of, o)
		}
	}
	slices.SortFunc(of, func(a, b history.Operation) int { return cmp.Compare(a.Return, b.Return) })
	first, found := slices.BinarySearchFunc(of, true, func(o history.Operation, _ bool) int {
		if history.Check(until(of, o.Return), perCheck, nil).Verdict == history.Violated {
			return 1
		}
		return -1
	})
	if found || first >= len(of) {
		return ""
	}
	bad := of[first]
	var b strings.Builder
	fmt.Fprintf(&b, "key %q: no order explains what ended at %.6f s:\n", key, seconds(bad.Return))
	relevant := around(of, first)
	for _, o := range relevant {
		mark := " "
		if o == bad {
			mark = ">"
		}
		fmt.Fprintf(&b, "  %s %.6f to %.6f s  client %2d %-6s %-12s %s\n", mark, seconds(o.Call), seconds(o.Return), o.Client, o.Kind, shown(o), o.Outcome)
	}
	return b.String()
}

// until cuts a history off at a time: what had not ended by then is unknown.
func until(of []history.Operation, end int64) []history.Operation {
	var cut []history.Operation
	for _, o := range of {
		switch {
		case o.Return <= end:
			cut = append(cut, o)
		case o.Call <= end && o.Kind != history.Get && o.Outcome != history.Failed:
			o.Outcome = history.Unknown
			cut = append(cut, o)
		}
	}
	return cut
}

// shownAround is how many operations are shown before the one that nothing explains, and shownWrites how many writes.
const shownAround = 25

// around returns the operations that ended shortly before the i-th or overlap it, and those that have to do with its value.
func around(of []history.Operation, i int) []history.Operation {
	bad := of[i]
	var some []history.Operation
	for j, o := range of {
		near := j <= i && j > i-shownAround || j > i && o.Call <= bad.Return && j < i+shownAround
		same := bad.Value != "" && o.Value == bad.Value && o.Kind == history.Put
		if near || same {
			some = append(some, o)
		}
	}
	return some
}

func shown(o history.Operation) string {
	if o.Kind == history.Get && o.Missing {
		return "-> none"
	}
	if o.Kind == history.Get {
		return "-> " + o.Value
	}
	return o.Value
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }
