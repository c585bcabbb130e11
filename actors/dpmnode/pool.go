package dpmnode

import (
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// poolOf is the real pool as the actor sees it.
type poolOf struct{ *dpm.Pool }

var _ pool = poolOf{}

// Durability implements pool.
func (p poolOf) Durability() string { return p.Region().Durability().String() }

// Figures implements pool.
func (p poolOf) Figures() map[string]uint64 { return p.Stats().Figures() }

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
