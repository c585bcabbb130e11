package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/hashring"
)

// Snapshot is what the M-node knows of one decision period.
type Snapshot struct {
	Now time.Time
	// Reports is the number of latency reports of users in the period; with none nothing is known of the SLO.
	Reports     int
	LatencyMean time.Duration
	LatencyP99  time.Duration
	Nodes       []NodeLoad
	Keys        []KeyLoad // the keys that KNs reported, each once, accesses summed over its owners
	// Changing says that a reconfiguration is under way.
	Changing bool
}

// NodeLoad is one KN's share of busy time, the busiest of its threads, 0 to 1.
type NodeLoad struct {
	PrivateIP string
	Threads   int
	Occupancy float64
}

// KeyLoad is how often a key was accessed in the period, and its present replication.
type KeyLoad struct {
	Key         string
	Accesses    uint64
	Replication hashring.Replication
}

// State is what a decision leaves for the next one. The zero State is the first.
type State struct {
	GraceUntil time.Time
}

// Kind is what a decision does.
type Kind uint8

// The kinds of decision. Nothing is logged like the others: why nothing was done.
const (
	Nothing Kind = iota
	AddNode
	RemoveNode
	Replicate
	Dereplicate
)

// String returns the kind as logs have it.
func (k Kind) String() string {
	return [...]string{"nothing", "add-node", "remove-node", "replicate", "dereplicate"}[k]
}

// Decision is one thing to do, and why.
type Decision struct {
	Kind   Kind
	Nodes  int         // AddNode: how many
	Node   string      // RemoveNode: private IP
	Keys   []KeyChange // Replicate, Dereplicate
	Reason string      // with the figures
}

// KeyChange is a key's new replication.
type KeyChange struct {
	Key      string
	From, To hashring.Replication
}

// String shows a decision on one line.
func (d Decision) String() string {
	s := d.Kind.String()
	switch d.Kind {
	case AddNode:
		s += fmt.Sprintf(" %d", d.Nodes)
	case RemoveNode:
		s += " " + d.Node
	}
	for _, k := range d.Keys {
		s += fmt.Sprintf(" %q %dx%d->%dx%d", k.Key, k.From.Global, k.From.Local, k.To.Global, k.To.Local)
	}
	return s + ": " + d.Reason
}

// Decide looks at a period and says what to do, in order. There is always at least one decision, if only Nothing with its
// reason.
func Decide(o Options, s Snapshot, st State) ([]Decision, State) {
	switch {
	case s.Changing:
		return nothing("a reconfiguration is under way"), st
	case s.Now.Before(st.GraceUntil):
		return nothing(fmt.Sprintf("grace period for another %v", st.GraceUntil.Sub(s.Now).Round(time.Second))), st
	case len(s.Nodes) == 0:
		return nothing("no KN has reported"), st
	}
	decisions := decide(o, s)
	if decisions[0].Kind != Nothing {
		st.GraceUntil = s.Now.Add(o.GracePeriod)
	}
	return decisions, st
}

func nothing(reason string) []Decision { return []Decision{{Kind: Nothing, Reason: reason}} }

// decide chooses by the SLO first, as the original does.
func decide(o Options, s Snapshot) []Decision {
	least := slices.MinFunc(s.Nodes, func(a, b NodeLoad) int {
		return cmp.Or(cmp.Compare(a.Occupancy, b.Occupancy), cmp.Compare(a.PrivateIP, b.PrivateIP))
	})
	latency, name := s.LatencyP99, "p99"
	if o.OnMean {
		latency, name = s.LatencyMean, "mean"
	}
	figures := fmt.Sprintf("%s latency %v, SLO %v, %d KNs, least occupied %s at %.2f",
		name, latency, o.SLO, len(s.Nodes), least.PrivateIP, least.Occupancy)
	if s.Reports == 0 {
		figures = fmt.Sprintf("no user reported, SLO %v, %d KNs, least occupied %s at %.2f",
			o.SLO, len(s.Nodes), least.PrivateIP, least.Occupancy)
	}
	if s.Reports > 0 && latency > o.SLO {
		return missed(o, s, least, float64(latency)/float64(o.SLO), figures)
	}
	return met(o, s, least, figures)
}

// missed is for an SLO that is not kept: more KNs, else more owners for hot keys.
func missed(o Options, s Snapshot, least NodeLoad, overload float64, figures string) []Decision {
	if o.Elasticity && least.Occupancy > o.AddOccupancy && len(s.Nodes) < o.MaxKNs {
		return []Decision{{Kind: AddNode, Nodes: min(o.AddKNs, o.MaxKNs-len(s.Nodes)), Reason: fmt.Sprintf(
			"SLO missed and every KN busier than %.2f: %s, at most %d", o.AddOccupancy, figures, o.MaxKNs)}}
	}
	if !o.SelectiveReplication {
		return nothing("SLO missed, but neither may a KN be added nor a key replicated: " + figures)
	}
	mean, deviation := spread(s.Keys)
	bound := mean + o.HotDeviations*deviation
	fewest := uint64(o.MinHotAccesses)
	hot := slices.DeleteFunc(slices.Clone(s.Keys), func(k KeyLoad) bool { return float64(k.Accesses) <= bound || k.Accesses < fewest })
	slices.SortFunc(hot, func(a, b KeyLoad) int {
		return cmp.Or(cmp.Compare(b.Accesses, a.Accesses), cmp.Compare(a.Key, b.Key))
	})
	var changes []KeyChange
	for _, k := range hot {
		if to := widen(k.Replication, overload, o.ReplicationStep, s.Nodes); to != k.Replication && len(changes) < o.MaxKeys {
			changes = append(changes, KeyChange{Key: k.Key, From: k.Replication, To: to})
		}
	}
	if len(changes) == 0 {
		return nothing(fmt.Sprintf("SLO missed, no key above %.1f accesses, and of %d or more, can get more owners: %s", bound, o.MinHotAccesses, figures))
	}
	return []Decision{{Kind: Replicate, Keys: changes, Reason: fmt.Sprintf(
		"SLO missed, keys above %.1f accesses (mean %.1f + %.0f x %.1f): %s", bound, mean, o.HotDeviations, deviation, figures)}}
}

// widen gives a hot key more owners: its factor times the overload, at least step more, at most all KNs; a key on all KNs
// gets more threads within each.
func widen(r hashring.Replication, overload float64, step int, nodes []NodeLoad) hashring.Replication {
	r = hashring.Replication{Global: max(1, r.Global), Local: max(1, r.Local)}
	if r.Global < len(nodes) {
		r.Global = min(len(nodes), max(r.Global+step, int(float64(r.Global)*overload)))
		return r
	}
	threads := 1
	for _, n := range nodes {
		threads = max(threads, n.Threads)
	}
	r.Local = min(threads, max(r.Local+step, int(float64(r.Local)*overload)))
	return r
}

// met is for an SLO that is kept: fewer KNs where one has too little to do, fewer owners for keys that went cold.
func met(o Options, s Snapshot, least NodeLoad, figures string) []Decision {
	if o.Elasticity && least.Occupancy < o.RemoveOccupancy && len(s.Nodes) > o.MinKNs {
		return removal(o, s, least, figures)
	}
	if !o.SelectiveReplication {
		return nothing("SLO not missed: " + figures)
	}
	mean, deviation := spread(s.Keys)
	bound := mean - o.ColdDeviations*deviation
	floor := hashring.Replication{Global: o.MinimumReplication, Local: 1}
	var changes []KeyChange
	for _, k := range s.Keys {
		if len(changes) < o.MaxKeys && float64(k.Accesses) <= bound && (k.Replication.Global > floor.Global || k.Replication.Local > 1) {
			changes = append(changes, KeyChange{Key: k.Key, From: k.Replication, To: floor})
		}
	}
	if len(changes) == 0 {
		return nothing("SLO not missed: " + figures)
	}
	slices.SortFunc(changes, func(a, b KeyChange) int { return cmp.Compare(a.Key, b.Key) })
	return []Decision{{Kind: Dereplicate, Keys: changes, Reason: fmt.Sprintf(
		"keys at or below %.1f accesses (mean %.1f - %.0f x %.1f): %s", bound, mean, o.ColdDeviations, deviation, figures)}}
}

// removal removes the least occupied KN. Keys that are on all KNs are taken back to one less first, so that no key asks for more
// owners than there are.
func removal(o Options, s Snapshot, least NodeLoad, figures string) []Decision {
	var everywhere []KeyChange
	for _, k := range s.Keys {
		if k.Replication.Global >= len(s.Nodes) && k.Replication.Global > o.MinimumReplication {
			to := k.Replication
			to.Global = len(s.Nodes) - 1
			everywhere = append(everywhere, KeyChange{Key: k.Key, From: k.Replication, To: to})
		}
	}
	remove := Decision{Kind: RemoveNode, Node: least.PrivateIP, Reason: fmt.Sprintf(
		"SLO not missed and a KN less busy than %.2f: %s, at least %d", o.RemoveOccupancy, figures, o.MinKNs)}
	if len(everywhere) == 0 {
		return []Decision{remove}
	}
	slices.SortFunc(everywhere, func(a, b KeyChange) int { return cmp.Compare(a.Key, b.Key) })
	return []Decision{{Kind: Dereplicate, Keys: everywhere, Reason: "on all KNs, of which one goes: " + figures}, remove}
}

// spread returns the mean and the standard deviation of the keys' accesses.
func spread(keys []KeyLoad) (mean, deviation float64) {
	if len(keys) == 0 {
		return 0, 0
	}
	for _, k := range keys {
		mean += float64(k.Accesses)
	}
	mean /= float64(len(keys))
	var squares float64
	for _, k := range keys {
		squares += (float64(k.Accesses) - mean) * (float64(k.Accesses) - mean)
	}
	return mean, math.Sqrt(squares / float64(len(keys)))
}
