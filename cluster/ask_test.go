package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// answerer is a node that answers with what answer returns, if that is something.
func answerer(t *testing.T, ip string, answer func(messages.Message) messages.Message) (address string) {
	pull, err := runtime.ListenPull("tcp://"+ip+":0", runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	peers := runtime.NewPeers(runtime.PeersOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := range pull.Batches() {
			for _, frame := range b.Frames {
				m, err := messages.ParseControlFrame(frame)
				if err != nil {
					continue
				}
				reply := answer(m)
				if reply == nil {
					continue
				}
				to := m.(interface{ GetResponseAddress() string }).GetResponseAddress()
				if push, err := peers.Get(to); err == nil {
					out, err := messages.ControlFrame(ip, reply)
					if err == nil {
						_ = push.Send(out)
					}
				}
			}
			b.Release()
		}
	}()
	t.Cleanup(func() { _ = pull.Close(); <-done; peers.Close(0) })
	return pull.Address()
}

func newTestAsker(t *testing.T, unasked func(messages.Message)) *Asker {
	a, err := NewAsker("127.77.4.1", unasked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestAskRepeatsUntilAnswered(t *testing.T) {
	asked := 0
	to := answerer(t, "127.77.4.2", func(m messages.Message) messages.Message {
		if asked++; asked < 3 {
			return nil
		}
		return &messages.PoolState{RequestId: m.(*messages.PoolQuery).GetRequestId(), ServerEpoch: 9}
	})
	a := newTestAsker(t, nil)
	s, err := a.Pool(t.Context(), to)
	if err != nil || s.GetServerEpoch() != 9 {
		t.Errorf("%v, %v", s, err)
	}
}

func TestAskGivesUpWithItsContext(t *testing.T) {
	to := answerer(t, "127.77.4.3", func(messages.Message) messages.Message { return nil })
	a := newTestAsker(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Status(ctx, to, ""); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), to) {
		t.Error(err)
	}
	if _, err := a.Status(ctx, "nowhere", ""); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
}

func TestAnswersAndReportsAreToldApart(t *testing.T) {
	unasked := make(chan messages.Message, 10)
	a := newTestAsker(t, func(m messages.Message) { unasked <- m })
	to := answerer(t, "127.77.4.4", func(m messages.Message) messages.Message {
		if q, ok := m.(*messages.StatusQuery); ok && q.GetTopic() == "wrong" {
			return &messages.PoolState{RequestId: q.GetRequestId()}
		}
		return &messages.BenchReport{Uid: "x"}
	})
	if _, err := a.Status(t.Context(), to, "wrong"); err == nil || !strings.Contains(err.Error(), "PoolState") {
		t.Errorf("an answer of another kind: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if m := <-unasked; m.(*messages.BenchReport).GetUid() == "x" {
			cancel()
		}
	}()
	if _, err := a.Status(ctx, to, "other"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
