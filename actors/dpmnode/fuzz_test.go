package dpmnode

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/messages"
)

// FuzzControl gives the actor arbitrary frames: it must survive them, and its chores' ends.
func FuzzControl(f *testing.F) {
	const back = "tcp://127.0.0.1:1"
	for _, m := range []messages.Message{
		&messages.MetaRead{ResponseAddress: back, Name: "ownership"}, &messages.MetaSwap{ResponseAddress: back, Name: "ownership", Value: []byte("x")},
		&messages.PoolQuery{ResponseAddress: back}, &messages.RankFence{ResponseAddress: back, Rank: 3, UptoIncarnation: 5, OnlyIfUnchanged: true},
		&messages.RankDrain{ResponseAddress: back, Rank: 3, Incarnation: 5}, &messages.PointersChange{ResponseAddress: back, Install: true, Keys: [][]byte{{1}}},
		&messages.StatusQuery{ResponseAddress: back},
	} {
		frame, err := messages.ControlFrame("fuzz", m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	o := Options{IP: dpmIP, Listen: func(*dpm.Pool, fabric.ListenOptions) (fabric.Listener, error) { return nil, nil }}
	o.EnsureDefaults()
	f.Fuzz(func(t *testing.T, frame []byte) {
		var chores []func()
		var told []any
		c := newControl(&o, surroundings{
			ctx: t.Context(), pool: &fakePool{rank: dpm.RankStatus{Rank: 3, Incarnation: 5}}, verbs: func() map[string]uint64 { return nil },
			self: func(body any) { told = append(told, body) }, spawn: func(work func()) { chores = append(chores, work) },
		})
		var out runtime.Outbox
		c.Step(time.Unix(1000, 0), runtime.Message{Kind: runtime.KindFrame, Frame: frame}, &out)
		for _, chore := range chores {
			chore()
		}
		for _, body := range told {
			c.Step(time.Unix(1000, 0), runtime.Message{Kind: runtime.KindTold, Body: body}, &out)
		}
		if len(c.chores) != 0 {
			t.Errorf("%d chores have no end", len(c.chores))
		}
	})
}
