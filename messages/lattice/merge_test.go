package lattice_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// TestMerge runs the stories of testdata/merge. Payloads are built and read with the generated protobuf code, so every
// line checks the package's own reading and writing against it.
//
//	put type=SET [mode=timestamp]      the input's lines are payloads, merged one after another into a key
func TestMerge(t *testing.T) {
	datadriven.RunTest(t, "testdata/merge", func(t *testing.T, d *datadriven.TestData) string {
		var name string
		d.ScanArgs(t, "type", &name)
		typ := typeNamed(t, name)
		var opts lattice.Options
		if mode := ""; d.MaybeScanArgs(t, "mode", &mode) {
			var err error
			if opts.Mode, err = lattice.ParseMode(mode); err != nil {
				d.Fatalf(t, "%v", err)
			}
		}
		d.MaybeScanArgs(t, "max-bytes", &opts.MaxPayloadBytes)
		var out strings.Builder
		var current []byte
		for line := range strings.Lines(d.Input) {
			merged, changed, err := lattice.Merge(typ, current, payloadOf(t, typ, strings.TrimSpace(line)), opts)
			if err != nil {
				fmt.Fprintf(&out, "%v\n", err)
				continue
			}
			current = merged
			fmt.Fprintf(&out, "%s", showPayload(t, typ, current))
			if !changed {
				out.WriteString(" (unchanged)")
			}
			out.WriteByte('\n')
		}
		return out.String()
	})
}

func typeNamed(t *testing.T, name string) lattice.Type {
	n, ok := messages.LatticeType_value[name]
	if !ok {
		t.Fatalf("no lattice type %q", name)
	}
	return lattice.Type(n)
}

// payloadOf builds a payload from a line: words of the forms ts=1, p=1.5, clock=a:1,b:2, dep=k/a:1, raw=hex; any other
// word is a value.
func payloadOf(t *testing.T, typ lattice.Type, line string) []byte {
	t.Helper()
	var (
		ts     uint64
		p      float64
		clock  map[string]uint32
		deps   []*messages.KeyVersion
		values [][]byte
	)
	for _, word := range strings.Fields(line) {
		key, arg, _ := strings.Cut(word, "=")
		switch key {
		case "raw":
			return mustHex(t, arg)
		case "ts":
			ts = must(strconv.ParseUint(arg, 10, 64))
		case "p":
			p = must(strconv.ParseFloat(arg, 64))
		case "clock":
			clock = clockOf(t, arg)
		case "dep":
			name, c, _ := strings.Cut(arg, "/")
			deps = append(deps, &messages.KeyVersion{Key: name, VectorClock: clockOf(t, c)})
		default:
			values = append(values, []byte(word))
		}
	}
	var one []byte
	if len(values) > 0 {
		one = values[0]
	}
	switch typ {
	case lattice.LWW:
		return marshal(t, &messages.LWWValue{Timestamp: ts, Value: one})
	case lattice.Set, lattice.OrderedSet:
		return marshal(t, &messages.SetValue{Values: values})
	case lattice.SingleCausal:
		return marshal(t, &messages.SingleKeyCausalValue{VectorClock: clock, Values: values})
	case lattice.MultiCausal:
		return marshal(t, &messages.MultiKeyCausalValue{VectorClock: clock, Dependencies: deps, Values: values})
	case lattice.Priority:
		return marshal(t, &messages.PriorityValue{Priority: p, Value: one})
	}
	return nil
}

func clockOf(t *testing.T, s string) map[string]uint32 {
	t.Helper()
	out := make(map[string]uint32)
	for _, tick := range strings.Split(s, ",") {
		name, n, _ := strings.Cut(tick, ":")
		out[name] = uint32(must(strconv.ParseUint(n, 10, 32)))
	}
	return out
}

// showPayload decodes with the generated code and prints in the input's form.
func showPayload(t *testing.T, typ lattice.Type, payload []byte) string {
	t.Helper()
	switch typ {
	case lattice.LWW:
		var m messages.LWWValue
		unmarshal(t, payload, &m)
		return fmt.Sprintf("ts=%d %s", m.Timestamp, m.Value)
	case lattice.Set, lattice.OrderedSet:
		var m messages.SetValue
		unmarshal(t, payload, &m)
		return strings.TrimSpace(fmt.Sprintf("{%s}", joinBytes(m.Values)))
	case lattice.SingleCausal:
		var m messages.SingleKeyCausalValue
		unmarshal(t, payload, &m)
		return fmt.Sprintf("%v %s", m.VectorClock, joinBytes(m.Values))
	case lattice.MultiCausal:
		var m messages.MultiKeyCausalValue
		unmarshal(t, payload, &m)
		out := fmt.Sprint(m.VectorClock)
		for _, d := range m.Dependencies {
			out += fmt.Sprintf(" %s/%v", d.Key, d.VectorClock)
		}
		return out + " " + joinBytes(m.Values)
	case lattice.Priority:
		var m messages.PriorityValue
		unmarshal(t, payload, &m)
		return fmt.Sprintf("p=%g %s", m.Priority, m.Value)
	}
	return "?"
}

func joinBytes(values [][]byte) string {
	var words []string
	for _, v := range values {
		words = append(words, string(v))
	}
	return strings.Join(words, " ")
}

func TestTypesMatchTheWire(t *testing.T) {
	if int(lattice.NumTypes) != len(messages.LatticeType_name) {
		t.Fatalf("%d types here, %d on the wire", lattice.NumTypes, len(messages.LatticeType_name))
	}
	for n, name := range messages.LatticeType_name {
		if got := lattice.Type(n).String(); got != name {
			t.Errorf("type %d is %s here and %s on the wire", n, got, name)
		}
		if got := lattice.Type(n).Mergeable(); got != (name != "NONE") {
			t.Errorf("%s mergeable: %v", name, got)
		}
	}
}

func TestEveryTypeMergesAndValidates(t *testing.T) {
	for typ := lattice.None + 1; typ < lattice.NumTypes; typ++ {
		merged, changed, err := lattice.Merge(typ, nil, nil, lattice.Options{})
		if err != nil || !changed || merged == nil || len(merged) != 0 {
			t.Errorf("%s: an empty payload into nothing gives %v, %v, %v", typ, merged, changed, err)
		}
		again, changed, err := lattice.Merge(typ, merged, nil, lattice.Options{})
		if err != nil || changed || again == nil {
			t.Errorf("%s: an empty payload into itself gives %v, %v, %v", typ, again, changed, err)
		}
	}
	for _, typ := range []lattice.Type{lattice.None, lattice.NumTypes, 255} {
		if _, _, err := lattice.Merge(typ, nil, []byte{}, lattice.Options{}); !errors.Is(err, lattice.ErrType) {
			t.Errorf("Merge of %s: %v", typ, err)
		}
		if err := lattice.Validate(typ, nil, lattice.Options{}); !errors.Is(err, lattice.ErrType) {
			t.Errorf("Validate of %s: %v", typ, err)
		}
	}
}

func TestLimits(t *testing.T) {
	small := lattice.Options{MaxPayloadBytes: 16, MaxElements: 3}
	for typ := lattice.None + 1; typ < lattice.NumTypes; typ++ {
		long := payloadOf(t, typ, "ts=1 p=1 clock=a:1 aaaaaaaaaaaaaaaaaaaaaaaa")
		if err := lattice.Validate(typ, long, small); !errors.Is(err, lattice.ErrTooLarge) {
			t.Errorf("%s of %d bytes: %v", typ, len(long), err)
		}
	}
	if err := lattice.Validate(lattice.Set, payloadOf(t, lattice.Set, "a b c d"), small); !errors.Is(err, lattice.ErrTooLarge) {
		t.Errorf("a set of 4: %v", err)
	}
	many := lattice.Options{MaxElements: 3}
	for _, line := range []string{"clock=a:1,b:1,c:1,d:1", "a b c d", "dep=a/x:1 dep=b/x:1 dep=c/x:1 dep=d/x:1", "dep=k/a:1,b:1,c:1,d:1"} {
		if err := lattice.Validate(lattice.MultiCausal, payloadOf(t, lattice.MultiCausal, line), many); !errors.Is(err, lattice.ErrTooLarge) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestOptions(t *testing.T) {
	if err := (lattice.Options{}).EnsureDefaults().Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []lattice.Options{{MaxPayloadBytes: -1}, {MaxElements: -1}, {Mode: 9}} {
		if o.Validate() == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	for _, m := range []lattice.Mode{lattice.Arrival, lattice.Timestamp} {
		if got, err := lattice.ParseMode(m.String()); err != nil || got != m {
			t.Errorf("ParseMode(%s) = %v, %v", m, got, err)
		}
	}
	if _, err := lattice.ParseMode("newest"); err == nil {
		t.Error("ParseMode takes newest")
	}
}

func TestPriorityRefusesNotANumber(t *testing.T) {
	p := marshal(t, &messages.PriorityValue{Priority: math.NaN(), Value: []byte("x")})
	if err := lattice.Validate(lattice.Priority, p, lattice.Options{}); !errors.Is(err, lattice.ErrMalformed) {
		t.Errorf("NaN: %v", err)
	}
	minus := marshal(t, &messages.PriorityValue{Priority: math.Copysign(0, -1)})
	if got, _, err := lattice.Merge(lattice.Priority, nil, minus, lattice.Options{}); err != nil || len(got) != 0 {
		t.Errorf("minus zero becomes %x, %v", got, err)
	}
}

// TestLWWHotPathAllocatesNothing: a put of the default type on the KN's hot path.
func TestLWWHotPathAllocatesNothing(t *testing.T) {
	current, incoming := payloadOf(t, lattice.LWW, "ts=1 old"), payloadOf(t, lattice.LWW, "ts=2 new")
	for _, mode := range []lattice.Mode{lattice.Arrival, lattice.Timestamp} {
		n := testing.AllocsPerRun(100, func() {
			if _, changed, err := lattice.Merge(lattice.LWW, current, incoming, lattice.Options{Mode: mode}); err != nil || !changed {
				t.Fatal(changed, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", mode, n)
		}
	}
}
