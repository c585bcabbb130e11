package experiment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/timeline"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
	"github.com/dinomo-kv/dinomo/messages"
)

// request is one operation that a workload asks for.
type request struct {
	key   string
	write bool
	hot   bool // it counts as one of the hot key's
}

// workload draws the next operation. It is called with one rng at a time, by several goroutines with one each.
type workload func(rng *rand.Rand) request

// keysOf draws numbered keys by Zipf's law.
func keysOf(keys uint64, theta, readRatio float64) (workload, error) {
	s, err := zipf.NewSampler(keys, theta)
	if err != nil {
		return nil, fmt.Errorf("draw keys: %w", err)
	}
	return func(rng *rand.Rand) request {
		return request{key: keyName(s.Next(rng) + 1), write: rng.Float64() >= readRatio}
	}, nil
}

// keyName names keys as benchmark nodes do.
func keyName(n uint64) string { return strconv.FormatUint(n, 10) }

// load keeps a number of operations under way against a cluster, records what clients see on a time line, and gives the M-node
// the feedback that its policy decides by. Make it with newLoad.
type load struct {
	clock    clock.Clock
	began    time.Time // the time line's zero
	lanes    []*lane
	recorder *timeline.Recorder
	shape    atomic.Pointer[workload]
	value    []byte

	asker    *cluster.Asker
	monitors []string // feedback sockets
	stop     chan struct{}
	told     sync.WaitGroup
}

// lane is one client and its share of the operations.
type lane struct {
	l      *load
	number int
	c      *client.Client

	mu struct {
		sync.Mutex
		rng    *rand.Rand
		target int // operations to keep under way
		under  int
		slots  []slot
		idle   []int
		seen   *latency.Histogram // since the last feedback
		hot    map[string]uint64  // reads of the hot key that succeeded, by the KN thread that answered
		broken error
	}
}

// slot is an operation under way.
type slot struct {
	at  time.Duration
	hot bool
}

// loadLanes is how many clients there are: one goroutine's work each, on machines of a few cores.
const loadLanes = 2

// feedbackPeriod is how often the M-node hears of the clients.
const feedbackPeriod = time.Second

// newLoad connects clients to a cluster; nothing is sent until setOutstanding. step is the time line's.
func newLoad(o *Options, c *cluster.Cluster, asker *cluster.Asker, step time.Duration, attempt time.Duration) (*load, error) {
	t := c.Topology()
	routing, err := t.Routing(c.Plan(), c.Conf().Threads.Routing)
	if err != nil {
		return nil, err
	}
	l := &load{clock: clock.Real{}, recorder: timeline.NewRecorder(step), asker: asker, stop: make(chan struct{}), value: make([]byte, o.ValueBytes)}
	l.began = l.clock.Now()
	rng := random.New(o.Seed)
	for i := range l.value {
		l.value[i] = byte(rng.Uint32())
	}
	for _, ip := range t.MonitorIPs() {
		a, err := c.Plan().Address(ip, messages.MonitorFeedback, 0)
		if err != nil {
			return nil, err
		}
		l.monitors = append(l.monitors, a.String())
	}
	for i := range loadLanes {
		ip := o.Network.Tool(2 + i)
		cl, err := client.New(client.Options{
			Routing: routing, IP: ip, LocalIP: cluster.DialFrom(ip), Plan: c.Plan(), AnyPort: true, AttemptTimeout: attempt,
			MaxOutstanding: maxOutstanding, MaxPayloadBytes: 1 << 30, Seed: o.Seed + uint64(i) + 1,
		})
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		n := &lane{l: l, number: i, c: cl}
		n.mu.rng, n.mu.seen, n.mu.hot = random.New(o.Seed+uint64(i)+100), latency.New(), map[string]uint64{}
		l.lanes = append(l.lanes, n)
	}
	l.told.Go(l.tell)
	return l, nil
}

// maxOutstanding bounds what one lane keeps under way.
const maxOutstanding = 1 << 15

// now is the time on the time line.
func (l *load) now() time.Duration { return l.clock.Now().Sub(l.began) }

// at turns a time of day into one on the time line.
func (l *load) at(t time.Time) time.Duration { return t.Sub(l.began) }

// setWorkload changes what the next operations are.
func (l *load) setWorkload(w workload) { l.shape.Store(&w) }

// setOutstanding changes how many operations are under way. Those under way beyond it end by themselves.
func (l *load) setOutstanding(n int) {
	for i, lane := range l.lanes {
		lane.setTarget(n/len(l.lanes) + btoi(i < n%len(l.lanes)))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wait lets the load go on until done says so (true) or the limit has passed (false). An error ends the experiment.
func (l *load) wait(ctx context.Context, limit time.Duration, done func() bool) (bool, error) {
	for end := l.now() + limit; l.now() < end; l.clock.Sleep(50 * time.Millisecond) {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		if err := l.failed(); err != nil {
			return false, err
		}
		if done() {
			return true, nil
		}
	}
	return false, nil
}

// rest lets time pass.
func (l *load) rest(ctx context.Context, d time.Duration) error {
	_, err := l.wait(ctx, d, func() bool { return false })
	return err
}

// failed says that a client of ours cannot go on.
func (l *load) failed() error {
	for _, n := range l.lanes {
		n.mu.Lock()
		err := n.mu.broken
		n.mu.Unlock()
		if err != nil {
			return fmt.Errorf("client %d: %w", n.number, err)
		}
	}
	return nil
}

// close ends all operations and the clients.
func (l *load) close() error {
	close(l.stop)
	l.told.Wait()
	var errs []error
	for _, n := range l.lanes {
		n.setTarget(0)
		errs = append(errs, n.c.Close())
	}
	return errors.Join(errs...)
}

// fill writes keys 1 to keys and further ones, and waits for all.
func (l *load) fill(ctx context.Context, o *Options, more ...string) error {
	const together = 256
	group, err := make(chan error, len(l.lanes)), error(nil)
	for i, n := range l.lanes {
		go func() {
			var pairs []client.Pair
			flush := func() error {
				for _, err := range n.c.MultiPut(ctx, pairs...) {
					if err != nil {
						return fmt.Errorf("load: %w", err)
					}
				}
				pairs = pairs[:0]
				return nil
			}
			for k := uint64(i) + 1; k <= o.Keys; k += uint64(len(l.lanes)) {
				if pairs = append(pairs, client.Pair{Key: keyName(k), Value: l.value}); len(pairs) == together {
					if err := flush(); err != nil {
						group <- err
						return
					}
					if i == 0 {
						o.Progress("load", float64(k)/float64(o.Keys))
					}
				}
			}
			if i == 0 {
				for _, key := range more {
					pairs = append(pairs, client.Pair{Key: key, Value: l.value})
				}
			}
			group <- flush()
		}()
	}
	for range l.lanes {
		err = errors.Join(err, <-group)
	}
	return err
}

// setTarget changes the lane's share.
func (n *lane) setTarget(target int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.target = min(target, maxOutstanding)
	n.refill()
}

// refill begins operations until as many as wanted are under way. REQUIRES: n.mu.
func (n *lane) refill() {
	for n.mu.broken == nil && n.mu.under < n.mu.target {
		if len(n.mu.idle) == 0 {
			n.mu.idle = append(n.mu.idle, len(n.mu.slots))
			n.mu.slots = append(n.mu.slots, slot{})
		}
		last := len(n.mu.idle) - 1
		i := n.mu.idle[last]
		r := (*n.l.shape.Load())(n.mu.rng)
		op := client.Operation{Type: messages.RequestType_GET, Key: r.key, Tag: uint64(i), Done: n.ended}
		if r.write {
			op.Type, op.Value = messages.RequestType_UPDATE, n.l.value
		}
		n.mu.slots[i] = slot{n.l.now(), r.hot && !r.write}
		if err := n.c.Submit(op); err != nil {
			n.mu.broken = err
			return
		}
		n.mu.idle = n.mu.idle[:last]
		n.mu.under++
	}
}

// ended is the callback of every operation.
func (n *lane) ended(r *client.Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.l.now()
	s := n.mu.slots[r.Tag]
	took := now - s.at
	n.mu.under--
	n.mu.idle = append(n.mu.idle, int(r.Tag))
	n.mu.seen.Record(took)
	switch {
	case errors.Is(r.Err, client.ErrClosed):
		n.mu.target = 0
	case r.Err != nil:
		n.l.recorder.Failed(now)
	default:
		n.l.recorder.Succeeded(now, took, 1)
		if s.hot {
			n.mu.hot[r.From]++
		}
	}
	n.refill()
}

// hotReads returns how often each KN thread has answered a read of the hot key so far.
func (l *load) hotReads() map[string]uint64 {
	all := map[string]uint64{}
	for _, n := range l.lanes {
		n.mu.Lock()
		for from, reads := range n.mu.hot {
			all[from] += reads
		}
		n.mu.Unlock()
	}
	return all
}

// tell sends feedback until the load ends.
func (l *load) tell() {
	for {
		timer := l.clock.NewTimer(feedbackPeriod)
		select {
		case <-l.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		for _, n := range l.lanes {
			f := n.feedback()
			if f == nil {
				continue
			}
			frame, err := messages.Marshal(f)
			if err != nil {
				continue // its only text is a number
			}
			for _, to := range l.monitors {
				_ = l.asker.SendFrame(to, frame) // the next one says more
			}
		}
	}
}

// feedback sums up the last period, nil when nothing was to be done. A period in which nothing ended although something was under
// way counts as one latency of its length.
func (n *lane) feedback() *messages.UserFeedback {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, under := n.mu.seen, n.mu.under
	n.mu.seen = latency.New()
	f := &messages.UserFeedback{Uid: "experiment:" + strconv.Itoa(n.number), Throughput: float64(h.Count()) / feedbackPeriod.Seconds()}
	switch {
	case h.Count() > 0:
	case under == 0:
		return nil
	default:
		h.Record(feedbackPeriod)
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	f.AvgLatency, f.MinLatency, f.MaxLatency = us(h.Mean()), us(h.Min()), us(h.Max())
	f.MedianLatency, f.TailLatency = us(h.Percentile(50)), us(h.Percentile(99))
	return f
}
