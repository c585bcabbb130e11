package fabric

import (
	"fmt"
	"strings"
)

// Metrics are a listener's counts since it was opened.
type Metrics struct {
	Connections  uint64 // open and admitted now
	Admitted     uint64 // queue pairs admitted so far
	Refused      [RefusalReasons]uint64
	Replaced     uint64        // queue pairs that their threads dialled anew
	Fences       uint64        // calls of Fence
	FencedOff    uint64        // queue pairs killed by Fence
	Verbs        [Kinds]uint64 // executed for peers, by Kind; a backend that the listener's processor does not serve counts none
	Calls        uint64
	BytesRead    uint64 // payload of READs and of replies
	BytesWritten uint64 // payload of WRITEs and of requests
	Flushes      uint64 // fences of the region on behalf of FLUSH verbs
}

// RefusalReason says why a listener turned a connection away.
type RefusalReason uint8

// The reasons.
const (
	RefusedProtocol  RefusalReason = iota // bad magic, version, backend or greeting, or none in time
	RefusedFull                           // MaxConnections
	RefusedFenced                         // ErrFenced
	RefusedWrongPool                      // ErrWrongPool
	RefusedOther                          // Admit's other errors
	refusalReasons
)

// RefusalReasons is the number of reasons, for arrays indexed by them.
const RefusalReasons = int(refusalReasons)

var refusalNames = [RefusalReasons]string{"protocol", "full", "fenced", "wrong_pool", "other"}

// String returns the reason's name as reports show it.
func (r RefusalReason) String() string {
	if r >= refusalReasons {
		return fmt.Sprintf("RefusalReason(%d)", uint8(r))
	}
	return refusalNames[r]
}

// String returns all counts on one line.
func (m Metrics) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connections=%d admitted=%d", m.Connections, m.Admitted)
	for r, n := range m.Refused {
		fmt.Fprintf(&b, " refused_%s=%d", RefusalReason(r), n)
	}
	fmt.Fprintf(&b, " replaced=%d fences=%d fenced_off=%d", m.Replaced, m.Fences, m.FencedOff)
	for k := Read; k < kinds; k++ {
		fmt.Fprintf(&b, " %s=%d", strings.ToLower(k.String()), m.Verbs[k])
	}
	fmt.Fprintf(&b, " calls=%d bytes_read=%d bytes_written=%d flushes=%d", m.Calls, m.BytesRead, m.BytesWritten, m.Flushes)
	return b.String()
}
