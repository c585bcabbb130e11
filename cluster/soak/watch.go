package soak

import (
	"fmt"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Process is one that is watched.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// Sample is one look at one process.
type Sample struct {
	Seconds float64 `json:"seconds"` // since the watch began
	Memory
}

// Options say what is watched. Processes, Pool, CacheBytes and Threads are required.
type Options struct {
	Processes []Process
	Pool      string
	// CacheBytes and Threads are those that each process is configured with.
	CacheBytes int64
	Threads    int
	// Every is the time between samples. Default 1 s.
	Every time.Duration
	Clock clock.Clock

	// Into the report, as they are.
	Commit        string
	Configuration map[string]string
}

// Watch samples until it is stopped.
type Watch struct {
	o       Options
	began   time.Time
	stop    chan struct{}
	done    sync.WaitGroup
	samples [][]Sample // by process
	err     error
}

// Begin begins to watch.
func Begin(o Options) *Watch {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	w := &Watch{o: o, began: o.Clock.Now(), stop: make(chan struct{}), samples: make([][]Sample, len(o.Processes))}
	w.done.Add(1)
	go w.run()
	return w
}

func (w *Watch) run() {
	defer w.done.Done()
	for w.err == nil {
		w.look()
		timer := w.o.Clock.NewTimer(w.o.Every)
		select {
		case <-timer.C:
		case <-w.stop:
			timer.Stop()
			return
		}
	}
}

func (w *Watch) look() {
	for i, p := range w.o.Processes {
		m, err := ReadMemory(p.PID, w.o.Pool)
		if err != nil {
			w.err = fmt.Errorf("%s: %w", p.Name, err)
			return
		}
		w.samples[i] = append(w.samples[i], Sample{Seconds: w.o.Clock.Now().Sub(w.began).Seconds(), Memory: m})
	}
}

// End stops watching and judges what was seen. The error is that of a process that could not be watched to the end; the report has
// what was seen before.
func (w *Watch) End() (*Report, error) {
	close(w.stop)
	w.done.Wait()
	return judge(&w.o, w.samples), w.err
}
