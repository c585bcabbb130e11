package manager

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// FuzzStep gives the actor arbitrary frames on every socket: it must survive them, and answer every request.
func FuzzStep(f *testing.F) {
	for i, text := range []string{"add:2:memory", "remove:127.0.10.100:memory", "fail:1:memory", "restart:127.0.10.100", "x"} {
		f.Add(uint8(i%4), []byte(text))
	}
	for _, m := range []messages.Message{&messages.StatusQuery{}, &messages.NodeKill{Kind: "memory", Count: 1 << 31}, &messages.NodeKill{PrivateIps: []string{"127.0.10.100"}}} {
		frame, err := messages.ControlFrame("fuzz", m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(3), frame)
	}
	f.Fuzz(func(t *testing.T, socket uint8, frame []byte) {
		s := newStory(t)
		m := newManager(&s.o, notes{s})
		var out runtime.Outbox
		step := func(in runtime.Message) { m.Step(time.Unix(1000, 0), in, &out) }
		step(runtime.Message{Kind: runtime.KindTold, Body: Node{messages.KindMemory, "127.0.10.100"}})
		switch socket % 4 {
		case 0:
			step(runtime.Message{Kind: runtime.KindFrame, Socket: socketChurn, Frame: frame})
		case 1:
			step(runtime.Message{Kind: runtime.KindFrame, Socket: socketFunctionNodes, Frame: frame})
		case 2:
			step(runtime.Message{Kind: runtime.KindRequest, Socket: socketRestartCount, Frame: frame})
		case 3:
			step(runtime.Message{Kind: runtime.KindRequest, Socket: socketControl, Frame: frame})
		}
		if want := int(socket % 4 / 2); len(out.Replies) != want {
			t.Errorf("%d answers, want %d", len(out.Replies), want)
		}
	})
}
