package experiment

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
		current     *hashring.Map
		epochs      []epoch
		kns, owners []timeline.Sample
		rates       []timeline.Sample // of the followed key's reads, a second each
		counting    bool              // reads are entered by owners
		byOwners    map[int]*HotKeyRow
		seenAt      time.Duration     // the last look
		seen        map[string]uint64 // reads until then
		rateAt      time.Duration
		rateSeen    uint64
	}
	stop context.CancelFunc
	over chan struct{}
}

// epoch is a map and when it was first seen.
type epoch struct {
	at time.Duration
	m  *hashring.Map
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
	w.mu.byOwners = make(map[int]*HotKeyRow)
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

// count enters the key's reads since the last look under the number of its owners. REQUIRES: w.mu.
func (w *watcher) count(now time.Duration) {
	owners, reads := w.ownersOf(w.mu.current), w.l.hotReads()
	if w.mu.counting {
		row := w.mu.byOwners[owners]
		if row == nil {
			row = &HotKeyRow{Owners: owners, from: map[string]uint64{}}
			w.mu.byOwners[owners] = row
		}
		row.Seconds += (now - w.mu.seenAt).Seconds()
		for from, n := range reads {
			row.from[from] += n - w.mu.seen[from]
			row.Reads += n - w.mu.seen[from]
		}
	}
	w.mu.seenAt, w.mu.seen = now, reads
	total := uint64(0)
	for _, n := range reads {
		total += n
	}
	if took := now - w.mu.rateAt; took >= time.Second {
		rate := float64(total-w.mu.rateSeen) / took.Seconds()
		w.mu.rates = append(w.mu.rates, timeline.Sample{AtSeconds: w.mu.rateAt.Seconds(), Value: rate})
		w.mu.rateAt, w.mu.rateSeen = now, total
	}
}

// countReads switches the counting of the key's reads on or off.
func (w *watcher) countReads(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.counting = on
}

// hotKey returns how often the key was read with each number of owners.
func (w *watcher) hotKey() []HotKeyRow {
	w.mu.Lock()
	defer w.mu.Unlock()
	var rows []HotKeyRow
	for _, owners := range slices.Sorted(maps.Keys(w.mu.byOwners)) {
		row := *w.mu.byOwners[owners]
		if row.Seconds > 0 {
			row.ReadsPerSecond = float64(row.Reads) / row.Seconds
		}
		for _, n := range row.from {
			row.BusiestShare = max(row.BusiestShare, float64(n)/float64(row.Reads))
		}
		rows = append(rows, row)
	}
	return rows
}

// owners is how many threads serve the followed key.
func (w *watcher) owners() int { return w.ownersOf(w.ownership()) }

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
	lines := []timeline.Line{{Name: "KNs", Samples: slices.Clone(w.mu.kns)}}
	if w.key != "" {
		lines = append(lines, timeline.Line{Name: "owners of the hot key", Samples: slices.Clone(w.mu.owners)},
			timeline.Line{Name: "reads/s of the hot key", Samples: slices.Clone(w.mu.rates)})
	}
	return lines
}
