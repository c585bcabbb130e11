package guard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// TestStories runs testdata/*: the guard of the node of rank 1. Maps are named by their epoch and members. Commands:
//
//	prepare id=I from=E members=(1,2)        a coordinator asks; without members, a message without a map
//	released id=I                            the threads report it done
//	abort id=I
//	commit epoch=E members=(1,2)
//	record epoch=E members=(1,2)             what the pool's record holds, as read
//	swapped epoch=E members=(1,2)            the answer to the guard's own swap
//	wait ms=N                                time passes in one step
//
// Every command prints what the guard wants done.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		g := New(Options{Rank: 1, PrivateIP: "127.0.0.1", Address: "kn", ResumeTimeout: 5 * time.Second, MaxReleases: 2})
		now := time.Unix(1000, 0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out Outbox
			step(t, g, &now, d, &out)
			return out.String()
		})
	})
}

func step(t *testing.T, g *Guard, now *time.Time, d *datadriven.TestData, out *Outbox) {
	var id string
	var epoch, from, ms int
	var members []int
	d.MaybeScanArgs(t, "id", &id)
	d.MaybeScanArgs(t, "epoch", &epoch)
	d.MaybeScanArgs(t, "from", &from)
	d.MaybeScanArgs(t, "ms", &ms)
	d.MaybeScanArgs(t, "members", &members)
	receive := func(m messages.Message) { g.Receive(*now, messages.Envelope("boss", m), out) }
	switch d.Cmd {
	case "prepare":
		p := &messages.OwnershipPrepare{RequestId: id, EpochFrom: uint64(from), ResponseAddress: "boss", Reason: "a test"}
		if len(members) > 0 {
			p.Next = ownership.ToWire(mapOf(t, from+1, members), "boss")
		}
		receive(p)
	case "released":
		g.Released(id, 7, out)
	case "abort":
		receive(&messages.OwnershipAbort{RequestId: id})
	case "commit":
		receive(&messages.OwnershipCommit{RequestId: "c", ResponseAddress: "boss", Map: ownership.ToWire(mapOf(t, epoch, members), "boss")})
	case "record", "swapped":
		record, err := ownership.Encode(mapOf(t, epoch, members), "boss")
		if err != nil {
			t.Fatal(err)
		}
		if d.Cmd == "record" {
			g.Record(uint64(epoch), record, out)
		} else {
			g.Swapped(uint64(epoch), record, out)
		}
	case "wait":
		*now = now.Add(time.Duration(ms) * time.Millisecond)
		g.Tick(*now, out)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
}

func mapOf(t *testing.T, epoch int, members []int) *hashring.Map {
	t.Helper()
	s := hashring.Spec{Epoch: hashring.Epoch(epoch), VirtualNodes: 4}
	for _, m := range members {
		ip := fmt.Sprintf("127.0.0.%d", m)
		s.Members = append(s.Members, hashring.Member{Rank: hashring.Rank(m), PublicIP: ip, PrivateIP: ip, Threads: 1, Incarnation: 1})
	}
	m, err := hashring.NewMap(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// String lists what a step wants done, a line each.
func (o *Outbox) String() string {
	var b strings.Builder
	if o.Install != nil {
		fmt.Fprintf(&b, "install epoch %d, %d members\n", o.Install.Epoch(), len(o.Install.Members()))
	}
	for _, id := range o.Forget {
		fmt.Fprintf(&b, "forget %s\n", id)
	}
	for _, r := range o.Releases {
		fmt.Fprintf(&b, "release %s: %.0f%% of the ring\n", r.ID, 100*r.Ranges.Share())
	}
	if o.ReadMap {
		b.WriteString("read the map\n")
	}
	if o.Swap != nil {
		m, err := ownership.Decode(o.Swap.Record, o.Swap.Expected+1, nil)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "swap epoch %d, %d members\n", m.Epoch(), len(m.Members()))
	}
	for _, s := range o.Sends {
		fmt.Fprintf(&b, "to %s: ", s.To)
		switch m := messages.Unwrap(s.Envelope).(type) {
		case *messages.OwnershipPrepared:
			fmt.Fprintf(&b, "prepared %s ok=%v merged=%d %s\n", m.GetRequestId(), m.GetOk(), m.GetMergedEntries(), m.GetDetail())
		case *messages.OwnershipAck:
			fmt.Fprintf(&b, "ack %s epoch %d\n", m.GetRequestId(), m.GetEpoch())
		default:
			fmt.Fprintf(&b, "%T\n", m)
		}
	}
	for _, n := range o.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func TestMemberIsThisRun(t *testing.T) {
	g := New(Options{Rank: 1, PrivateIP: "127.0.0.1"})
	if g.Member(1) {
		t.Error("a member without a map")
	}
	var out Outbox
	record, err := ownership.Encode(mapOf(t, 1, []int{1, 2}), "boss")
	if err != nil {
		t.Fatal(err)
	}
	g.Record(1, record, &out)
	if !g.Member(1) || g.Member(2) {
		t.Errorf("incarnation 1 is a member: %v, incarnation 2: %v", g.Member(1), g.Member(2))
	}
	other := New(Options{Rank: 1, PrivateIP: "127.0.0.9"})
	other.Record(1, record, &out)
	if other.Member(1) {
		t.Error("another address of the same rank is a member")
	}
}
