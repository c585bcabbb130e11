package clock

import (
	"testing"
	"time"
)

func TestManualTimerFiresOnlyWhenDue(t *testing.T) {
	start := time.Unix(100, 0)
	m := NewManual(start)
	due, later, stopped := m.NewTimer(time.Second), m.NewTimer(3*time.Second), m.NewTimer(time.Second)
	if !stopped.Stop() {
		t.Fatal("Stop of a pending timer must report true")
	}
	m.Advance(time.Second)
	if got := <-due.C; !got.Equal(start.Add(time.Second)) {
		t.Fatalf("fired at %v", got)
	}
	for _, timer := range []*Timer{later, stopped} {
		select {
		case <-timer.C:
			t.Fatal("a timer fired that is not due or was stopped")
		default:
		}
	}
	if due.Stop() {
		t.Fatal("Stop of a fired timer must report false")
	}
}

func TestManualTimerWithoutDelayFiresAtOnce(t *testing.T) {
	m := NewManual(time.Unix(0, 0))
	<-m.NewTimer(0).C
	m.Sleep(-time.Second)
}

// TestGroupWaits: on a clock without tasks a Group is a WaitGroup and Await is nothing.
func TestGroupWaits(t *testing.T) {
	var g Group
	released, ended := make(chan struct{}), false
	g.Go(Real{}, func() {
		<-released
		ended = true
	})
	Await(Real{}, func() bool { t.Error("asked on a clock without tasks"); return true })
	if Closed(released) {
		t.Error("an open channel is closed")
	}
	close(released)
	g.Wait()
	if !ended || !Closed(released) {
		t.Error("Wait returned too early")
	}
}
