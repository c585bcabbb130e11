package experiment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/timeline"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// watcher follows the ownership map in the pool: it alone says who owns what.
type watcher struct {
	l     *load
	asker *cluster.Asker
	dpm   string // its control socket
	key   string // whose owners are followed; "": none's

	mu struct {
		sync.Mutex
		current        *hashring.Map
		epochs         []epoch
		kns, owners    []timeline.Sample
		reads          []hotReads
		readsAt        time.Duration
		readsBefore    uint64
		ownersAtBefore int
	}
	stop context.CancelFunc
	over chan struct{}
}

// epoch is a map and when it was first seen.
type epoch struct {
	at time.Duration
	m  *hashring.Map
}

// hotReads is how often the followed key was read in a stretch of time, by how many owners.
type hotReads struct {
	from, until time.Duration
	owners      int
	reads       uint64
}

// watchPeriod is how often the map is looked at: it is the resolution of what changed when.
const watchPeriod = 20 * time.Millisecond

// watch begins to follow the map.
func watch(ctx context.Context, l *load, c *cluster.Cluster, asker *cluster.Asker, key string) (*watcher, error) {
	a, err := c.Plan().Address(c.Topology().Network.DPM(), messages.DPMControl, 0)
	if err != nil {
		return nil, err
	}
	w := &watcher{l: l, asker: asker, dpm: a.String(), key: key, over: make(chan struct{})}
	if err := w.look(ctx); err != nil {
		return nil, err
	}
	ctx, w.stop = context.WithCancel(ctx)
	go w.follow(ctx)
	return w, nil
}

// close ends the watch.
func (w *watcher) close() {
	w.stop()
	<-w.over
}

func (w *watcher) follow(ctx context.Context) {
	defer close(w.over)
	for ctx.Err() == nil {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			continue // the pool does not answer: there is no other map either
		}
		w.l.clock.Sleep(watchPeriod)
	}
}

// look reads the map and notes what is new.
func (w *watcher) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	record, err := w.asker.Record(ctx, w.dpm, ownership.RecordName)
	if err != nil {
		return fmt.Errorf("ask the pool for the ownership map: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.l.now()
	if w.mu.current == nil || uint64(w.mu.current.Epoch()) != record.GetVersion() {
		m, err := ownership.Decode(record.GetValue(), record.GetVersion(), nil)
		if err != nil {
			return err
		}
		w.mu.current = m
		w.mu.epochs = append(w.mu.epochs, epoch{now, m})
		w.mu.kns = append(w.mu.kns, timeline.Sample{AtSeconds: now.Seconds(), Value: float64(len(m.Members()))})
		if w.key != "" {
			w.mu.owners = append(w.mu.owners, timeline.Sample{AtSeconds: now.Seconds(), Value: float64(w.ownersOf(m))})
		}
	}
	if w.key != "" {
		w.count(now)
	}
	return nil
}

// ownersOf is how many threads serve the followed key.
func (w *watcher) ownersOf(m *hashring.Map) int { return len(m.OwnersOf([]byte(w.key), nil)) }

// count enters the key's reads since the last look. REQUIRES: w.mu.
func (w *watcher) count(now time.Duration) {
	owners, total := w.ownersOf(w.mu.current), w.l.hot.Load()
	if last := len(w.mu.reads) - 1; last < 0 || w.mu.reads[last].owners != owners {
		w.mu.reads = append(w.mu.reads, hotReads{from: w.mu.readsAt, owners: owners})
	}
	stretch := &w.mu.reads[len(w.mu.reads)-1]
	stretch.until = now
	stretch.reads += total - w.mu.readsBefore
	w.mu.readsAt, w.mu.readsBefore = now, total
}

// ownership returns the map in force.
func (w *watcher) ownership() *hashring.Map {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.current
}

// members is how many KNs the map has.
func (w *watcher) members() int { return len(w.ownership().Members()) }

// since returns the first map after a time that ok accepts, and when it was seen.
func (w *watcher) since(at time.Duration, ok func(*hashring.Map) bool) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.mu.epochs {
		if e.at >= at && ok(e.m) {
			return e.at, true
		}
	}
	return 0, false
}

// lines returns what was sampled.
func (w *watcher) lines() []timeline.Line {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := []timeline.Line{{Name: "KNs", Samples: append([]timeline.Sample(nil), w.mu.kns...)}}
	if w.key != "" {
		lines = append(lines, timeline.Line{Name: "owners of the hot key", Samples: append([]timeline.Sample(nil), w.mu.owners...)})
	}
	return lines
}
