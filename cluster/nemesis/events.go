package nemesis

import (
	"fmt"
	"sync"
	"time"
)

// Event is something that the nemesis did.
type Event struct {
	// At and Until are since the history's beginning; Until is 0 for what has no end of its own.
	At    time.Duration `json:"at"`
	Until time.Duration `json:"until,omitempty"`
	// Number is the fault's in the schedule, Fault its kind, Target whom it hit.
	Number int    `json:"number"`
	Fault  string `json:"fault"`
	Target string `json:"target,omitempty"`
	// Error is why it could not be made, or ended.
	Error string `json:"error,omitempty"`
}

func (e Event) String() string {
	s := fmt.Sprintf("%8.3f s  fault %d: %s %s", e.At.Seconds(), e.Number, e.Fault, e.Target)
	if e.Until != 0 {
		s += fmt.Sprintf(", for %.3f s", (e.Until - e.At).Seconds())
	}
	if e.Error != "" {
		s += ": " + e.Error
	}
	return s
}

// eventLog collects events from several goroutines.
type eventLog struct {
	mu  sync.Mutex
	all []Event
}

// add appends an event and returns its place.
func (l *eventLog) add(e Event) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
	return len(l.all) - 1
}

// change changes the event at a place and returns it.
func (l *eventLog) change(i int, how func(*Event)) Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	how(&l.all[i])
	return l.all[i]
}
