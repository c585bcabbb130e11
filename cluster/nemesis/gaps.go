package nemesis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client/history"
)

// Gap is a time in which clients were not served.
type Gap struct {
	From  time.Duration `json:"from_ns"`
	Until time.Duration `json:"until_ns"`
	Key   string        `json:"key,omitempty"`
	// Faults lists those that were going on, or had begun shortly before.
	Faults []string `json:"faults,omitempty"`
}

// Length is how long it was.
func (g Gap) Length() time.Duration { return g.Until - g.From }

func (g Gap) of() string {
	if g.Key == "" {
		return ""
	}
	return " (" + g.Key + ")"
}

func (g Gap) during() string {
	if len(g.Faults) == 0 {
		return "no fault"
	}
	return strings.Join(g.Faults, ", ")
}

// Bounds of what is worth a report.
const (
	shortestGap  = 100 * time.Millisecond
	mostGaps     = 20
	faultsBefore = 1500 * time.Millisecond // a fault's effect lasts longer than itself
)

// silences finds the times in which no operation succeeded.
func silences(ops []history.Operation, events []Event) []Gap {
	var ends []int64
	for i := range ops {
		if ops[i].Outcome == history.OK {
			ends = append(ends, ops[i].Return)
		}
	}
	slices.Sort(ends)
	var gaps []Gap
	for i := 1; i < len(ends); i++ {
		gaps = appendGap(gaps, Gap{From: time.Duration(ends[i-1]), Until: time.Duration(ends[i])}, events)
	}
	return longest(gaps)
}

// waits finds, for each key, the longest time in which nothing succeeded although clients asked from the beginning on and did not
// stop asking.
func waits(ops []history.Operation, events []Event) []Gap {
	byKey := map[string][]*history.Operation{}
	for i := range ops {
		byKey[ops[i].Key] = append(byKey[ops[i].Key], &ops[i])
	}
	var worst []Gap
	for key, of := range byKey {
		var gaps []Gap
		slices.SortFunc(of, func(a, b *history.Operation) int { return cmp.Compare(a.Return, b.Return) })
		asked, until := int64(-1), int64(0) // the attempts without success so far
		for _, o := range of {
			if asked < 0 || o.Call > until+int64(shortestGap) {
				asked = o.Call
			}
			asked, until = min(asked, o.Call), o.Return
			if o.Outcome == history.OK {
				gaps = appendGap(gaps, Gap{Key: key, From: time.Duration(asked), Until: time.Duration(o.Return)}, events)
				asked = -1
			}
		}
		worst = append(worst, longest(gaps)[:min(len(gaps), 1)]...)
	}
	return longest(worst)
}

func appendGap(gaps []Gap, g Gap, events []Event) []Gap {
	if g.Length() < shortestGap {
		return gaps
	}
	for _, e := range events {
		if e.At < g.Until && max(e.At, e.Until)+faultsBefore > g.From {
			g.Faults = append(g.Faults, fmt.Sprintf("%d %s", e.Number, e.Fault))
		}
	}
	return append(gaps, g)
}

// longest returns the longest few, the longest first.
func longest(gaps []Gap) []Gap {
	slices.SortFunc(gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(b.Length(), a.Length()), cmp.Compare(a.From, b.From), cmp.Compare(a.Key, b.Key))
	})
	return gaps[:min(len(gaps), mostGaps)]
}
