package client

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// fakeNet keeps what the core sends, encoded and decoded again as a peer would see it.
type fakeNet struct {
	t         testing.TB
	codec     *messages.Codec
	full      bool
	down      map[string]bool
	losses    map[string]int64
	requests  []sentRequest
	questions []*messages.KeyAddressRequest
}

type sentRequest struct {
	to string
	*messages.KeyRequest
}

func (n *fakeNet) send(to string, m runtime.Encoder) error {
	if n.full {
		return runtime.ErrQueueFull
	}
	frame := make([]byte, m.SizeVT())
	if _, err := m.MarshalToSizedBufferVT(frame); err != nil {
		n.t.Fatal(err)
	}
	if _, ok := m.(*messages.KeyAddressRequest); ok {
		q, err := n.codec.DecodeKeyAddressRequest(frame)
		if err != nil {
			n.t.Fatal(err)
		}
		n.questions = append(n.questions, q)
		return nil
	}
	r, err := n.codec.DecodeKeyRequest(frame)
	if err != nil {
		n.t.Fatal(err)
	}
	n.requests = append(n.requests, sentRequest{to, r})
	return nil
}

func (n *fakeNet) flush() {}

func (n *fakeNet) link(address string) (bool, int64) { return !n.down[address], n.losses[address] }

// cut loses the connection to an address; mend makes another one.
func (n *fakeNet) cut(address string) {
	if !n.down[address] {
		n.down[address] = true
		n.losses[address]++
	}
}

func (n *fakeNet) mend(address string) { delete(n.down, address) }

// stage is a core with a time line, driven by hand.
type stage struct {
	*core
	net *fakeNet
	now time.Duration
	ids []string // of all requests shown
}

func newStage(t testing.TB, o Options, seed uint64) *stage {
	codec, err := messages.NewCodec(messages.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	o.Routing = []string{"tcp://127.0.0.9:8200"}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	net := &fakeNet{t: t, codec: codec, down: map[string]bool{}, losses: map[string]int64{}}
	s := &stage{core: newCore(o, net, "tcp://127.0.0.1:8300", "tcp://127.0.0.1:8400", random.New(seed)), net: net}
	s.idPrefix = "c_"
	return s
}

func thread(name string) string {
	return "tcp://127.0.0.1:64" + strings.TrimPrefix(name, "t")
}

func threads(list string) (out []string) {
	for name := range strings.SplitSeq(list, ",") {
		if name != "" {
			out = append(out, thread(name))
		}
	}
	return out
}

func short(address string) string { return strings.Replace(address, "tcp://127.0.0.1:64", "t", 1) }

// show prints what was sent and what ended since the last time, and releases the latter.
func (s *stage) show() string {
	s.flush(s.now)
	var b strings.Builder
	for _, q := range s.net.questions {
		fmt.Fprintf(&b, "ask %s: who owns %s\n", q.RequestId, strings.Join(q.Keys, " "))
	}
	for _, r := range s.net.requests {
		s.ids = append(s.ids, r.RequestId)
		fmt.Fprintf(&b, "send #%d to %s: %s", len(s.ids), short(r.to), r.Type)
		for _, t := range r.Tuples {
			fmt.Fprintf(&b, " %s(knows %d)", t.Key, t.AddressCacheSize)
		}
		fmt.Fprintln(&b)
	}
	s.net.questions, s.net.requests = nil, nil
	for _, o := range s.ended {
		value, err := o.Value()
		fmt.Fprintf(&b, "end %s %s after %d: ", o.Type, o.Key, o.Attempts)
		switch {
		case err != nil:
			fmt.Fprintf(&b, "%v (unknown outcome: %v)\n", err, OutcomeUnknown(err))
		case o.Type.IsGet():
			fmt.Fprintf(&b, "%s\n", value)
		default:
			fmt.Fprintln(&b, "ok")
		}
		s.release(o)
	}
	s.ended = s.ended[:0]
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// Value hides Result.Value where a write's answer has no payload.
func (o *op) Value() ([]byte, error) {
	if o.Err != nil || !o.Type.IsGet() {
		return nil, o.Err
	}
	return o.Result.Value()
}

func (s *stage) start(d *datadriven.TestData) {
	deadline := 10 * time.Second
	if a, ok := d.Arg("within"); ok {
		deadline, _ = time.ParseDuration(a.Vals[0])
	}
	for _, a := range d.CmdArgs {
		if a.Key == "within" {
			continue
		}
		kind := messages.RequestType(messages.RequestType_value[strings.ToUpper(a.Key)])
		for _, key := range a.Vals {
			in := Operation{Type: kind, Key: key, Value: []byte("v"), Done: func(*Result) {}}
			if err := in.check(); err != nil {
				s.net.t.Fatal(err)
			}
			if _, err := s.submit(s.now, &in, s.now+deadline, 7); err != nil {
				s.net.t.Fatal(err)
			}
		}
	}
}

// answer reads "<request's number> [error=E] key=E[>threads] key=value:v [invalidate]".
func (s *stage) answer(d *datadriven.TestData) {
	var number int
	fmt.Sscan(d.CmdArgs[0].Key, &number)
	if number < 1 || number > len(s.ids) {
		d.Fatalf(s.net.t.(*testing.T), "request %d was not sent", number)
	}
	m := &messages.KeyResponse{ResponseId: s.ids[number-1]}
	for _, a := range d.CmdArgs[1:] {
		switch {
		case a.Key == "error":
			m.Error = messages.AnnaError(messages.AnnaError_value[a.Vals[0]])
		case a.Key == "invalidate":
			for _, t := range m.Tuples {
				t.Invalidate = true
			}
		default:
			m.Tuples = append(m.Tuples, answerTuple(a.Key, a.Vals[0]))
		}
	}
	s.answered(s.now, m)
}

func answerTuple(key, text string) *messages.KeyTuple {
	code, owners, _ := strings.Cut(text, ">")
	t := &messages.KeyTuple{Key: key, Ips: threads(strings.ReplaceAll(owners, "+", ","))}
	if v, ok := strings.CutPrefix(code, "value:"); ok {
		t.LatticeType, t.Payload = messages.LatticeType_LWW, lattice.LWWValue{Timestamp: 1, Value: []byte(v)}.Append(nil)
		return t
	}
	t.Error = messages.AnnaError(messages.AnnaError_value[code])
	return t
}

// locate reads "<question> [error=E] key=(threads)".
func (s *stage) locate(d *datadriven.TestData) {
	m := &messages.KeyAddressResponse{ResponseId: "c_" + d.CmdArgs[0].Key}
	for _, a := range d.CmdArgs[1:] {
		if a.Key == "error" {
			m.Error = messages.AnnaError(messages.AnnaError_value[a.Vals[0]])
			continue
		}
		m.Addresses = append(m.Addresses, &messages.KeyAddress{Key: a.Key, Ips: threads(strings.Join(a.Vals, ","))})
	}
	s.located(s.now, m)
}

func TestCore(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		var s *stage
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "new":
				o := Options{RetryPauseMin: 100 * time.Millisecond, RetryPauseMax: 100 * time.Millisecond}
				for _, a := range d.CmdArgs {
					switch a.Key {
					case "no-retry":
						o.NoRetry = true
					case "tuples":
						fmt.Sscan(a.Vals[0], &o.MaxTuplesPerRequest)
					}
				}
				s = newStage(t, o, 1)
				return "ok\n"
			case "start":
				s.start(d)
			case "answer":
				s.answer(d)
			case "locate":
				s.locate(d)
			case "cut":
				s.net.cut(thread(d.CmdArgs[0].Key))
			case "mend":
				s.net.mend(thread(d.CmdArgs[0].Key))
			case "full":
				s.net.full = d.CmdArgs[0].Key == "on"
			case "wait":
				step, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				s.now += step
				s.tick(s.now)
			case "counters":
				return fmt.Sprintf("%+v\n", s.metrics)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return s.show()
		})
	})
}

// TestCoreUnderFaults drives the core against a map behind a network that loses, repeats and delays, and a routing node
// whose knowledge is old. Guards CLI-1, CLI-2 and CLI-3.
func TestCoreUnderFaults(t *testing.T) {
	seed := random.Seed(t)
	for round := range uint64(200) {
		w := newFaultyWorld(t, seed+round)
		w.run()
		w.judge()
		if t.Failed() {
			t.Fatalf("round with seed %d", seed+round)
		}
	}
}

// check verifies that every list names exactly the operations that think they are in it.
func (s *stage) check() {
	t := s.net.t
	t.Helper()
	counts := map[place]int{}
	for _, o := range s.ops {
		counts[o.place]++
		switch o.place {
		case waiting:
			if o.ask.ops[o.index] != o || s.asks[o.Key] != o.ask {
				t.Fatalf("%s is not in its ask", o.Key)
			}
		case queued:
			if o.owner.queues[o.Type][o.index] != o {
				t.Fatalf("%s is not in its owner's queue", o.Key)
			}
		case sent:
			if o.call.ops[o.index] != o || s.calls[o.call.slot] != o.call {
				t.Fatalf("%s is not in its call", o.Key)
			}
		case paused:
			if s.paused[o.index] != o {
				t.Fatalf("%s is not in the list of paused ones", o.Key)
			}
		}
	}
	left := 0
	for _, k := range s.calls {
		left += k.left
	}
	if left != counts[sent] || len(s.paused) != counts[paused] || len(s.idle) != counts[free] ||
		s.live != counts[waiting]+counts[queued]+counts[sent]+counts[paused] {
		t.Fatalf("left %d, paused %d, idle %d, live %d; places %v", left, len(s.paused), len(s.idle), s.live, counts)
	}
	queuedOps := 0
	for _, w := range s.owners {
		n := 0
		for _, q := range w.queues {
			n += len(q)
		}
		if n != w.queued {
			t.Fatalf("owner %s counts %d, has %d", w.address, w.queued, n)
		}
		queuedOps += n
	}
	if queuedOps != counts[queued] {
		t.Fatalf("%d queued, places %v", queuedOps, counts)
	}
	if !sort.SliceIsSorted(s.questions, func(i, j int) bool { return s.questions[i].number < s.questions[j].number }) {
		t.Fatal("questions out of order")
	}
}
