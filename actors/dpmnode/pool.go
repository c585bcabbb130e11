package dpmnode

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// poolOf is the real pool as the actor sees it.
type poolOf struct{ *dpm.Pool }

// Durability implements pool.
func (p poolOf) Durability() string { return p.Region().Durability().String() }

// Figures implements pool.
func (p poolOf) Figures() map[string]uint64 { return p.Stats().Figures() }

// FenceUnchanged implements pool.
func (p poolOf) FenceUnchanged(rank fabric.Rank, upTo fabric.Incarnation, word uint64) (fenced bool, err error) {
	conditional, ok := any(p.Pool).(interface {
		FenceIf(rank fabric.Rank, upTo fabric.Incarnation, word uint64) (bool, error)
	})
	if !ok {
		return false, fmt.Errorf("rank %d: this pool cannot fence on suspicion; stop its process", rank)
	}
	return conditional.FenceIf(rank, upTo, word)
}

// verbFigures lists a listener's counts under the names of reports.
func verbFigures(m fabric.Metrics) map[string]uint64 {
	all := map[string]uint64{
		"fabric_connections": m.Connections, "fabric_admitted": m.Admitted, "fabric_replaced": m.Replaced,
		"fabric_fences": m.Fences, "fabric_fenced_off": m.FencedOff, "fabric_calls": m.Calls,
		"fabric_bytes_read": m.BytesRead, "fabric_bytes_written": m.BytesWritten, "fabric_flushes": m.Flushes,
	}
	for reason, n := range m.Refused {
		all["fabric_refused_"+fabric.RefusalReason(reason).String()] = n
	}
	return all
}
