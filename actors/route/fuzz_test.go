package route

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// FuzzStep gives the actor arbitrary frames on every socket: it must survive them, answer its seed socket, and never go back to an
// older map.
func FuzzStep(f *testing.F) {
	o := Options{IP: routeIP, DPM: dpmIP, Monitors: []string{monitorIP}}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		f.Fatal(err)
	}
	base, err := hashring.NewMap(hashring.Spec{Epoch: 5, VirtualNodes: 2, Members: []hashring.Member{
		{Rank: 1, PublicIP: "127.0.0.1", PrivateIP: "127.0.0.1", Threads: 1, Incarnation: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	sockets := []string{socketControl, socketNotify, socketReplicationResponse, socketReplicationChange}
	for _, m := range []messages.Message{
		&messages.OwnershipCommit{Map: ownership.ToWire(base, ""), ResponseAddress: "tcp://127.0.0.1:1"}, &messages.OwnershipQuery{ResponseAddress: "x"},
		&messages.MetaState{Name: ownership.RecordName, Version: 9, Value: []byte("x")}, &messages.StatusQuery{ResponseAddress: "tcp://127.0.0.1:1"},
	} {
		frame, err := messages.ControlFrame("fuzz", m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(0), frame)
	}
	f.Add(uint8(1), []byte("join:MEMORY:127.0.0.1:127.0.0.1:0"))
	f.Add(uint8(2), []byte("x"))
	f.Add(uint8(3), []byte{0x0a, 1, 'a'})
	f.Fuzz(func(t *testing.T, socket uint8, frame []byte) {
		tab := &table{}
		m := newMembership(&o, tab, func() map[string]uint64 { return map[string]uint64{} })
		m.install(base, "fuzz")
		var out runtime.Outbox
		now := time.Unix(1000, 0)
		m.Step(now, runtime.Message{Kind: runtime.KindFrame, Socket: sockets[int(socket)%len(sockets)], Frame: frame}, &out)
		m.Step(now, runtime.Message{Kind: runtime.KindRequest, Socket: socketSeed, Frame: frame}, &out)
		if len(out.Replies) != 1 {
			t.Errorf("%d answers to a seed question", len(out.Replies))
		}
		if tab.epoch() < 5 {
			t.Errorf("epoch %d", tab.epoch())
		}
	})
}
