package guard

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options say who the node is.
type Options struct {
	Rank      hashring.Rank
	PrivateIP string
	// Address is the node's control address, for acknowledgements.
	Address string
	// ResumeTimeout is how long a release may stay without a decision before the node swaps in the next epoch itself.
	// Default 15 s: longer than a coordinator works on a change, so that normally the coordinator decides.
	ResumeTimeout time.Duration
	// Retry is the time between repetitions of questions to the pool. Default 250 ms.
	Retry time.Duration
	// MaxReleases bounds how many changes may be in preparation at once (one a coordinator). Default 8; more are refused.
	MaxReleases int
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.ResumeTimeout == 0 {
		o.ResumeTimeout = 15 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = 250 * time.Millisecond
	}
	if o.MaxReleases == 0 {
		o.MaxReleases = 8
	}
}

// Release orders every thread to hold back the requests for a set of keys, to have its log merged and to drop what it
// caches of them, and then to report to Guard.Released.
type Release struct {
	ID     string
	Ranges hashring.Ranges
}

// Swap asks the pool to replace the ownership record; the answer goes to Guard.Swapped.
type Swap struct {
	Expected uint64
	Record   []byte
}

// Send is a message to an address.
type Send struct {
	To       string
	Envelope *messages.ControlEnvelope
}

// Outbox collects what a step wants done, in this order: Install, Forget, Release, then the rest.
type Outbox struct {
	// Install is a newer map for all threads: it ends every release. Nil: no change.
	Install *hashring.Map
	// Forget lists releases that are over without a new map: held-back requests are served.
	Forget   []string
	Releases []Release
	// ReadMap asks for the pool's ownership record; the answer goes to Guard.Record.
	ReadMap bool
	Swap    *Swap
	Sends   []Send
	Notes   []string // for the log
}

// Guard is the state machine. Make it with New. One goroutine at a time uses it.
type Guard struct {
	o        Options
	current  *hashring.Map
	releases map[string]*release
	readAt   time.Time
	swapAt   time.Time
}

// release is a change that this node has been asked to prepare.
type release struct {
	prepare *messages.OwnershipPrepare
	done    bool
	merged  uint64
	since   time.Time
}

// New makes a guard that has no map yet.
func New(o Options) *Guard {
	o.EnsureDefaults()
	return &Guard{o: o, releases: map[string]*release{}}
}

// Map returns the installed map, or nil.
func (g *Guard) Map() *hashring.Map { return g.current }

// Member says whether the installed map has this node's run of itself.
func (g *Guard) Member(incarnation uint64) bool {
	if g.current == nil {
		return false
	}
	m, ok := g.current.Member(g.o.Rank)
	return ok && m.Incarnation == incarnation && m.PrivateIP == g.o.PrivateIP
}

// Receive takes a control message; others than ownership's are ignored.
func (g *Guard) Receive(now time.Time, e *messages.ControlEnvelope, out *Outbox) {
	switch m := messages.Unwrap(e).(type) {
	case *messages.OwnershipPrepare:
		g.prepare(now, m, out)
	case *messages.OwnershipAbort:
		g.abort(m, out)
	case *messages.OwnershipCommit:
		g.commit(m, out)
	}
}

// prepare begins a release, or answers again for one that is done.
func (g *Guard) prepare(now time.Time, p *messages.OwnershipPrepare, out *Outbox) {
	if r := g.releases[p.GetRequestId()]; r != nil {
		if r.done {
			g.answer(r.prepare, true, "", r.merged, out)
		}
		return
	}
	switch from := hashring.Epoch(p.GetEpochFrom()); {
	case from < g.epoch():
		g.answer(p, false, fmt.Sprintf("epoch %d is past; this node is at %d", from, g.epoch()), 0, out)
		return
	case from > g.epoch():
		g.read(now, out)
		g.answer(p, false, fmt.Sprintf("this node is at epoch %d and reads the pool's map first", g.epoch()), 0, out)
		return
	case len(g.releases) >= g.o.MaxReleases:
		g.answer(p, false, fmt.Sprintf("%d changes are in preparation already", len(g.releases)), 0, out)
		return
	}
	next, err := ownership.FromWire(p.GetNext(), g.current)
	if err != nil {
		g.answer(p, false, err.Error(), 0, out)
		return
	}
	g.releases[p.GetRequestId()] = &release{prepare: p, since: now}
	out.Releases = append(out.Releases, Release{ID: p.GetRequestId(), Ranges: held(g.current, next, g.o.Rank)})
	out.note("prepares epoch %d: %s", next.Epoch(), p.GetReason())
}

// held is what a node stops serving for a change: what its threads lose, and the replicated keys whose owners change.
func held(from, next *hashring.Map, rank hashring.Rank) hashring.Ranges {
	return hashring.Moves(from, next).HeldBy(rank)
}

// Released takes the threads' word that a release is done: every thread has merged and dropped. merged counts entries.
func (g *Guard) Released(id string, merged uint64, out *Outbox) {
	r := g.releases[id]
	if r == nil || r.done {
		return // forgotten meanwhile
	}
	r.done, r.merged = true, merged
	g.answer(r.prepare, true, "", merged, out)
}

// abort forgets a release, as its coordinator promises not to swap for it.
func (g *Guard) abort(a *messages.OwnershipAbort, out *Outbox) {
	if g.releases[a.GetRequestId()] == nil {
		return
	}
	delete(g.releases, a.GetRequestId())
	out.Forget = append(out.Forget, a.GetRequestId())
	out.note("change %s is given up by its coordinator", a.GetRequestId())
}

// commit takes up a map that is in force and acknowledges it.
func (g *Guard) commit(c *messages.OwnershipCommit, out *Outbox) {
	m, err := ownership.FromWire(c.GetMap(), g.current)
	if err != nil {
		out.note("commit refused: %v", err)
		return
	}
	g.install(m, out)
	if c.GetResponseAddress() != "" {
		g.send(c.GetResponseAddress(), &messages.OwnershipAck{
			RequestId: c.GetRequestId(), Rank: uint32(g.o.Rank), Epoch: uint64(g.epoch()), Role: "kn", Address: g.o.Address,
		}, out)
	}
}

// Record takes what the pool's ownership record holds: the answer to Outbox.ReadMap, or news of the poller.
func (g *Guard) Record(version uint64, record []byte, out *Outbox) {
	if version <= uint64(g.epoch()) || len(record) == 0 {
		return
	}
	m, err := ownership.Decode(record, version, g.current)
	if err != nil {
		out.note("the pool's map is refused: %v", err)
		return
	}
	g.install(m, out)
}

// Swapped takes the answer to Outbox.Swap: what the record holds now. The map that is in force decides, whoever
// made it.
func (g *Guard) Swapped(version uint64, record []byte, out *Outbox) { g.Record(version, record, out) }

// install puts a newer map in force (RING-2) and ends every release.
func (g *Guard) install(m *hashring.Map, out *Outbox) {
	if m.Epoch() <= g.epoch() {
		return
	}
	g.current = m
	clear(g.releases)
	out.Install = m
	out.note("epoch %d in force, %d members", m.Epoch(), len(m.Members()))
}

// Tick lets time pass. A release that nobody decided is ended by swapping in the next epoch with the same owners.
func (g *Guard) Tick(now time.Time, out *Outbox) {
	for _, id := range slices.Sorted(maps.Keys(g.releases)) {
		if now.Sub(g.releases[id].since) < g.o.ResumeTimeout || now.Sub(g.swapAt) < g.o.Retry {
			continue
		}
		g.swapAt = now
		spec := g.current.Spec()
		spec.Epoch++
		same, err := g.current.Derive(spec)
		if err != nil {
			out.note("same map under the next epoch: %v", err)
			continue
		}
		record, err := ownership.Encode(same, g.o.PrivateIP+" resumes")
		if err != nil {
			out.note("same map under the next epoch: %v", err)
			continue
		}
		out.Swap = &Swap{Expected: uint64(g.epoch()), Record: record}
		out.note("nobody decided about change %s for %v; swapping in epoch %d unchanged", id, g.o.ResumeTimeout, spec.Epoch)
		return
	}
}

func (g *Guard) read(now time.Time, out *Outbox) {
	if now.Sub(g.readAt) >= g.o.Retry {
		g.readAt = now
		out.ReadMap = true
	}
}

func (g *Guard) epoch() hashring.Epoch {
	if g.current == nil {
		return 0
	}
	return g.current.Epoch()
}

func (g *Guard) answer(p *messages.OwnershipPrepare, ok bool, detail string, merged uint64, out *Outbox) {
	if p.GetResponseAddress() == "" {
		return
	}
	g.send(p.GetResponseAddress(), &messages.OwnershipPrepared{
		RequestId: p.GetRequestId(), Rank: uint32(g.o.Rank), EpochFrom: p.GetEpochFrom(),
		Ok: ok, Detail: detail, MergedEntries: merged,
	}, out)
}

func (g *Guard) send(to string, body messages.Message, out *Outbox) {
	out.Sends = append(out.Sends, Send{To: to, Envelope: messages.Envelope(g.o.PrivateIP, body)})
}

func (o *Outbox) note(format string, args ...any) {
	o.Notes = append(o.Notes, fmt.Sprintf(format, args...))
}
