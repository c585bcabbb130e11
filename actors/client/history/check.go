package history

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what a check found.
type Verdict string

// The verdicts. Undecided is no success: the history had too many unknown outcomes for the time given.
const (
	Linearizable Verdict = "linearizable"
	Violated     Verdict = "violated"
	Undecided    Verdict = "undecided"
)

// Report is the result of Check.
type Report struct {
	Verdict    Verdict        `json:"verdict"`
	Operations int            `json:"operations"`
	Keys       int            `json:"keys"`
	Outcomes   map[string]int `json:"outcomes"` // "put ok" -> count
	// Bad lists the keys that are not linearizable, or undecided.
	Bad []BadKey `json:"bad,omitempty"`
}

// BadKey is a key whose history is not explained by one copy of the data.
type BadKey struct {
	Key        string  `json:"key"`
	Verdict    Verdict `json:"verdict"`
	Operations int     `json:"operations"`
	// Why names the operations that no order explains, when that is simple to say.
	Why string `json:"why,omitempty"`

	info porcupine.LinearizationInfo
}

// register is the state of a key: what the last write left, or the letters of its set, or its causal value.
type register struct {
	value   string
	present bool
}

// model is a register with get, put and delete, a set with get, add and delete, or a causal value with get, merge and delete. What a put
// does not depend on, an add and a merge do: what is there. So they show updates that get lost between two owners who write at the
// same time; of a register's puts one is last anyway. An unknown get constrains nothing and is never in a history here.
var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		s, o := state.(register), input.(Operation)
		switch o.Kind {
		case Put:
			return true, register{value: o.Value, present: true}
		case Delete:
			return true, register{}
		case Add:
			return true, register{value: with(s.value, o.Value), present: true}
		case Merge:
			if s.present {
				return true, register{value: mergeCausal(s.value, o.Value), present: true}
			}
			return true, register{value: o.Value, present: true}
		}
		return s.present != o.Missing && (o.Missing || s.value == o.Value), s
	},
	DescribeOperation: func(input, _ any) string { return describe(input.(Operation)) },
	DescribeState: func(state any) string {
		if s := state.(register); s.present {
			return s.value
		}
		return "(none)"
	},
}

// with adds a letter to a set of letters in order.
func with(letters, letter string) string {
	i := 0
	for i < len(letters) && letters[i:i+1] < letter {
		i++
	}
	if i < len(letters) && letters[i:i+1] == letter {
		return letters
	}
	return letters[:i] + letter + letters[i:]
}

func describe(o Operation) string {
	switch {
	case o.Kind == Get && o.Missing:
		return fmt.Sprintf("client %d: get -> none", o.Client)
	case o.Kind == Get:
		return fmt.Sprintf("client %d: get -> %s", o.Client, o.Value)
	case o.Outcome == Unknown:
		return fmt.Sprintf("client %d: %s %s (unknown)", o.Client, o.Kind, o.Value)
	}
	return fmt.Sprintf("client %d: %s %s", o.Client, o.Kind, o.Value)
}

// Check checks a history, giving each key at most perKey. progress, if not nil, is called after each key.
func Check(ops []Operation, perKey time.Duration, progress func(done, keys int)) Report {
	byKey := map[string][]Operation{}
	report := Report{Verdict: Linearizable, Operations: len(ops), Outcomes: map[string]int{}}
	for _, o := range ops {
		byKey[o.Key] = append(byKey[o.Key], o)
		report.Outcomes[string(o.Kind)+" "+string(o.Outcome)]++
	}
	report.Keys = len(byKey)
	for i, key := range slices.Sorted(maps.Keys(byKey)) {
		if bad, ok := checkKey(key, byKey[key], perKey); !ok {
			report.Bad = append(report.Bad, bad)
			if report.Verdict != Violated {
				report.Verdict = bad.Verdict
			}
		}
		if progress != nil {
			progress(i+1, report.Keys)
		}
	}
	return report
}

func checkKey(key string, ops []Operation, limit time.Duration) (BadKey, bool) {
	kept, why := simplify(ops)
	if why != "" {
		return BadKey{Key: key, Verdict: Violated, Operations: len(ops), Why: why}, false
	}
	history := make([]porcupine.Operation, len(kept))
	for i, o := range kept {
		history[i] = porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: o.Return}
	}
	result, info := porcupine.CheckOperationsVerbose(model, history, limit)
	switch result {
	case porcupine.Ok:
		return BadKey{}, true
	case porcupine.Unknown:
		return BadKey{Key: key, Verdict: Undecided, Operations: len(ops), Why: fmt.Sprintf("not decided within %v", limit), info: info}, false
	}
	return BadKey{Key: key, Verdict: Violated, Operations: len(ops), info: info}, false
}

// simplify leaves out what constrains nothing, and gives unknown writes the tightest end that is sound: a failed
// operation did not happen; an unknown get said nothing; an unknown put whose value nobody read may as well not have
// happened; one whose value was read happened before the earliest end of such a read. It finds
// reads of values that nobody wrote.
func simplify(ops []Operation) (kept []Operation, why string) {
	for _, o := range ops {
		if o.Kind == Add || o.Kind == Merge {
			return simplifyMerged(ops, o.Kind)
		}
	}
	written := map[string]bool{}
	for _, o := range ops {
		if o.Kind == Put && o.Outcome != Failed {
			if written[o.Value] {
				return nil, fmt.Sprintf("value %q was written twice: the recorder must write distinct values", o.Value)
			}
			written[o.Value] = true
		}
	}
	firstRead := map[string]int64{}
	for _, o := range ops {
		if o.Kind != Get || o.Outcome != OK || o.Missing {
			continue
		}
		if !written[o.Value] {
			return nil, fmt.Sprintf("client %d read %q, which nobody wrote", o.Client, o.Value)
		}
		if end, ok := firstRead[o.Value]; !ok || o.Return < end {
			firstRead[o.Value] = o.Return
		}
	}
	for _, o := range ops {
		switch {
		case o.Outcome == Failed, o.Kind == Get && o.Outcome == Unknown:
			continue
		case o.Kind == Put && o.Outcome == Unknown:
			end, read := firstRead[o.Value]
			if !read {
				continue
			}
			o.Return = max(o.Call, end)
		case o.Kind == Delete && o.Outcome == Unknown:
			o.Return = math.MaxInt64
		}
		kept = append(kept, o)
	}
	slices.SortStableFunc(kept, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	return kept, ""
}

// simplifyMerged is simplify for a key whose writes, all of one kind, merge: its values cannot be traced to one write each.
func simplifyMerged(ops []Operation, kind Kind) (kept []Operation, why string) {
	for _, o := range ops {
		switch {
		case o.Kind != kind && o.Kind != Get && o.Kind != Delete:
			return nil, fmt.Sprintf("client %d did a %s on a key that others %s to", o.Client, o.Kind, kind)
		case o.Outcome == Failed, o.Kind == Get && o.Outcome == Unknown:
			continue
		case o.Outcome == Unknown:
			o.Return = math.MaxInt64
		}
		kept = append(kept, o)
	}
	slices.SortStableFunc(kept, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	return kept, ""
}

// Visualize writes a page (HTML) that shows the longest orders that explain parts of the key's history.
func (b *BadKey) Visualize(w io.Writer) error {
	if b.Why != "" && b.Verdict == Violated {
		return fmt.Errorf("key %q: nothing to draw: %s", b.Key, b.Why)
	}
	return porcupine.Visualize(model, b.info, w)
}
