package hashring

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
)

// Epoch numbers ownership maps. 0 means that no map is known yet.
type Epoch uint64

// Rank is the number under which the pool knows a KN: its lease, its log and its fence hang on it.
type Rank uint32

// String shows the number, "none" for NoRank.
func (r Rank) String() string {
	if r == NoRank {
		return "none"
	}
	return strconv.FormatUint(uint64(r), 10)
}

// NoRank stands for "nobody": the owner of everything in a map without members.
const NoRank Rank = math.MaxUint32

// Member is one KN of a map.
type Member struct {
	Rank Rank
	// PublicIP is where clients reach the node, PrivateIP where nodes reach it; both numeric, in
	// the text form that netip gives them. PrivateIP is the node's identity on the ring.
	PublicIP, PrivateIP string
	// Threads is the number of request threads, 1 to MaxThreads.
	Threads int
	// Incarnation tells two runs of a node apart.
	Incarnation uint64
}

// String shows a member on one line, as golden tests and logs want it.
func (m Member) String() string {
	return fmt.Sprintf("rank=%d private=%s public=%s threads=%d incarnation=%d",
		m.Rank, m.PrivateIP, m.PublicIP, m.Threads, m.Incarnation)
}

// sameOwner tells whether two members are the same run of the same node, so that what one owns
// the other need not take over. The public address does not matter: nothing is kept under it.
func sameOwner(a, b Member) bool {
	return a.Rank == b.Rank && a.PrivateIP == b.PrivateIP && a.Threads == b.Threads && a.Incarnation == b.Incarnation
}

// invalid returns what is wrong with the member, or "".
func (m Member) invalid() string {
	switch {
	case m.Rank == NoRank:
		return fmt.Sprintf("rank %d is reserved for nobody", m.Rank)
	case m.Threads < 1 || m.Threads > MaxThreads:
		return fmt.Sprintf("%d threads, want 1 to %d", m.Threads, MaxThreads)
	}
	if reason := invalidIP(m.PrivateIP); reason != "" {
		return "private address " + reason
	}
	if reason := invalidIP(m.PublicIP); reason != "" {
		return "public address " + reason
	}
	return ""
}

// invalidIP wants the one text form of a numeric address: two spellings of one address would be
// two members on the ring.
func invalidIP(s string) string {
	const longest = 45 // the longest IPv6 text
	if len(s) > longest {
		return fmt.Sprintf("has %d bytes, want a numeric IP of at most %d", len(s), longest)
	}
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is no numeric IP", s)
	case addr.Zone() != "":
		return fmt.Sprintf("%q has a zone, want it without", s)
	case addr.String() != s:
		return fmt.Sprintf("%q must be written %q", s, addr)
	}
	return ""
}

// sortedMembers returns the members in the order of their slots: by private address, numerically.
// It refuses what no map may contain.
func sortedMembers(members []Member) ([]Member, error) {
	if len(members) > MaxMembers {
		return nil, fmt.Errorf("%w: %d members, want at most %d", ErrInvalidMap, len(members), MaxMembers)
	}
	sorted := slices.Clone(members)
	for _, m := range sorted {
		if reason := m.invalid(); reason != "" {
			return nil, fmt.Errorf("%w: member of rank %d: %s", ErrInvalidMap, m.Rank, reason)
		}
	}
	address := func(m Member) netip.Addr { return netip.MustParseAddr(m.PrivateIP) }
	slices.SortFunc(sorted, func(a, b Member) int {
		return cmp.Or(address(a).Compare(address(b)), cmp.Compare(a.Rank, b.Rank))
	})
	ranks := make(map[Rank]string, len(sorted))
	for i, m := range sorted {
		if i > 0 && m.PrivateIP == sorted[i-1].PrivateIP {
			return nil, fmt.Errorf("%w: ranks %d and %d both have the private address %s",
				ErrInvalidMap, sorted[i-1].Rank, m.Rank, m.PrivateIP)
		}
		if other, taken := ranks[m.Rank]; taken {
			return nil, fmt.Errorf("%w: %s and %s both have rank %d", ErrInvalidMap, other, m.PrivateIP, m.Rank)
		}
		ranks[m.Rank] = m.PrivateIP
	}
	return sorted, nil
}
