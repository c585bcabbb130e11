package sim

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Beside registers, clients fight for some keys whose puts merge: they show updates that get lost between two who write at the same
// time. Such a key is put aside, and another takes its place, when the outcome of a write to it is not known: it may have happened at
// any time since, which no read can rule out, and a few dozen of them would take the checker for ever.

// mergedKey is a place for such keys: the one that is used now, by its number.
type mergedKey struct {
	kind   history.Kind // of its writes
	prefix string
	number int
}

func mergedKeys() []mergedKey {
	return []mergedKey{{history.Add, "s1.", 0}, {history.Add, "s2.", 0}, {history.Merge, "c.", 0}}
}

func (k *mergedKey) name() string { return k.prefix + strconv.Itoa(k.number) }

// names lists all keys that were ever in the place.
func (k *mergedKey) names() []string {
	var all []string
	for i := range k.number + 1 {
		all = append(all, k.prefix+strconv.Itoa(i))
	}
	return all
}

// retire puts a key aside, if it is one of those and still in use.
func (w *World) retire(key string) {
	for i := range w.merged {
		if k := &w.merged[i]; k.name() == key {
			k.number++
			w.watch.keys[w.o.Keys+i] = []byte(k.name())
		}
	}
}

// replicable draws a key whose replication is changed: mostly one of the first two, so that changes of one key follow each other.
func (w *World) replicable() string {
	all := []string{keyName(0), w.merged[0].name()}
	if w.rng.IntN(3) == 0 {
		all = append(all, keyName(min(1, w.o.Keys-1)), w.merged[1].name(), w.merged[2].name())
	}
	key, _ := pick(w.rng, all)
	return key
}

// chooseMerged draws an operation on a key whose puts merge. Half of the writes another client competes with.
func (c *simClient) chooseMerged() (kind history.Kind, key string) {
	k := &c.w.merged[c.rng.IntN(len(c.w.merged))]
	switch p := c.rng.IntN(100); {
	case p < 5:
		return history.Delete, k.name()
	case p < 50 && c.mayWrite(k):
		if c.rng.IntN(2) == 0 {
			c.compete(k)
		}
		return k.kind, k.name()
	}
	return history.Get, k.name()
}

func (c *simClient) mayWrite(k *mergedKey) bool {
	return k.kind == history.Add || c.number <= history.CausalWriters && c.ticks[k.name()] < maxTicks
}

// compete has some client write to the key now, too.
func (c *simClient) compete(k *mergedKey) {
	if other, ok := pick(c.rng, c.w.clients); ok && !other.ending && other.mayWrite(k) {
		other.do(k.kind, k.name(), other.nextValue(k.kind, k.name()), func(history.Operation) {})
	}
}

// nextLetter names a member, or the value of a causal write; there are few, so that the checker sees few states.
func (c *simClient) nextLetter() string { return string('a' + rune(c.rng.IntN(26))) }

// maxTicks is how often a client writes a causal key at most: a clock's places have three digits.
const maxTicks = 999

// nextCausal makes a causal value that follows what the client read last, and replaces it, or what it wrote itself alone.
func (c *simClient) nextCausal(key string) string {
	clock := bytes.Repeat([]byte("000"), history.CausalWriters)
	if c.rng.IntN(2) == 0 {
		copy(clock, c.read[key])
	}
	c.ticks[key]++
	copy(clock[3*(c.number-1):], fmt.Sprintf("%03d", c.ticks[key]))
	return string(clock) + "|" + c.nextLetter()
}

// causalOf turns what a history says into a value, and causalText turns it back.
func causalOf(text string) lattice.CausalValue {
	clock, letters, _ := strings.Cut(text, "|")
	v := lattice.CausalValue{Type: lattice.SingleCausal, Values: [][]byte{[]byte(letters)}}
	for i := 0; i < len(clock); i += 3 {
		if n, err := strconv.Atoi(clock[i : i+3]); err == nil && n > 0 {
			v.Clock = append(v.Clock, lattice.Tick{Name: strconv.Itoa(i/3 + 1), Counter: uint32(n)})
		}
	}
	return v
}

func causalText(v lattice.CausalValue) string {
	clock := bytes.Repeat([]byte("000"), history.CausalWriters)
	for _, t := range v.Clock {
		if n, err := strconv.Atoi(t.Name); err == nil && n > 0 && n <= history.CausalWriters {
			copy(clock[3*(n-1):], fmt.Sprintf("%03d", t.Counter))
		}
	}
	return string(clock) + "|" + string(bytes.Join(v.Values, nil))
}

// valueOf returns what a get found as the history calls it. A type that the key should not have gives a text that nobody wrote.
func valueOf(r *client.Result) (string, error) {
	if r.Err != nil {
		return "", r.Err
	}
	switch r.Lattice {
	case lattice.Set:
		members, err := lattice.ParseSet(r.Payload, lattice.Options{})
		if err != nil {
			return "damaged set: " + err.Error(), nil
		}
		return string(bytes.Join(members, nil)), nil
	case lattice.SingleCausal:
		v, err := lattice.ParseCausal(r.Lattice, r.Payload, lattice.Options{})
		if err != nil {
			return "damaged causal value: " + err.Error(), nil
		}
		return causalText(v), nil
	}
	value, err := r.Value()
	if err != nil {
		return "", err
	}
	return nameOf(value), nil
}

// operation makes what the client library is asked for.
func (c *simClient) operation(kind history.Kind, key, value string) client.Operation {
	o := client.Operation{Type: messages.RequestType_PUT, Key: key}
	switch kind {
	case history.Get:
		o.Type = messages.RequestType_GET
	case history.Delete:
		o.Type = messages.RequestType_DELETE
	case history.Put:
		o.Value = c.padded(value)
	case history.Add:
		o.Lattice, o.Payload = lattice.Set, lattice.SetValue{[]byte(value)}.Append([]byte{})
	case history.Merge:
		v := causalOf(value)
		o.Lattice, o.Payload = v.Type, v.Append([]byte{})
	}
	return o
}
