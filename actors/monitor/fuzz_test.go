package monitor

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// FuzzStep gives the actor arbitrary frames on every socket: it must survive them, and go on to sum up.
func FuzzStep(f *testing.F) {
	o := Options{IP: monitorIP, DPM: dpmIP, Management: manageIP}
	o.Policy.Elasticity, o.Policy.SelectiveReplication = true, true
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		f.Fatal(err)
	}
	sockets := []string{socketControl, socketNotify, socketResponse, socketDepartDone, socketFeedback, socketStatistics}
	control := func(m messages.Message) []byte {
		frame, err := messages.ControlFrame("fuzz", m)
		if err != nil {
			f.Fatal(err)
		}
		return frame
	}
	f.Add(uint8(0), control(&messages.NodeHello{PrivateIp: "127.0.0.1", PublicIp: "127.0.0.1", Threads: 2, Rank: 1, Incarnation: 1}))
	f.Add(uint8(0), control(&messages.KnStatistics{PrivateIp: "127.0.0.1", Errors: map[string]uint64{"x": 1}, LatencyBuckets: make([]uint64, 1000)}))
	f.Add(uint8(0), control(&messages.PoolState{Ranks: []*messages.RankState{{Rank: 1, Incarnation: 1}}}))
	f.Add(uint8(0), control(&messages.MetaState{RequestId: "poll", Name: "ownership", Version: 1, Value: []byte("x")}))
	f.Add(uint8(0), control(&messages.StatusQuery{ResponseAddress: "tcp://127.0.0.1:1"}))
	f.Add(uint8(1), []byte("depart:MEMORY:127.0.0.1:127.0.0.1"))
	f.Add(uint8(3), []byte("127.0.0.1_127.0.0.1_1"))
	f.Add(uint8(4), []byte{0x0a, 1, 'u'})
	f.Add(uint8(5), []byte{0x08, 2})
	f.Fuzz(func(t *testing.T, socket uint8, frame []byte) {
		m, err := newMonitor(&o)
		if err != nil {
			t.Fatal(err)
		}
		var out runtime.Outbox
		now := time.Unix(1000, 0)
		m.Step(now, runtime.Message{Kind: runtime.KindStarted}, &out)
		for range 2 {
			m.Step(now, runtime.Message{Kind: runtime.KindFrame, Socket: sockets[int(socket)%len(sockets)], Frame: frame}, &out)
			now = now.Add(o.SummaryPeriod)
			m.Step(now, runtime.Message{Kind: runtime.KindTick}, &out)
		}
	})
}
