package hashring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestStories runs testdata/*: each is the life of one map. Commands:
//
//	start virtual-nodes=N            a map without members
//	join rank=R ip=A threads=T incarnation=I
//	leave rank=R
//	replicate key=K nodes=G local=L
//	owners keys=(a,b,...)
//
// Every change prints the map's epoch and what moved.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var m *Map
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			next, output := storyStep(t, m, d)
			if next == nil {
				return output
			}
			if m != nil {
				output = fmt.Sprintf("%vmoves %.0f%% of the ring\n%v", next, 100*Moves(m, next).Share(), Moves(m, next))
			}
			m = next
			return output
		})
	})
}

// storyStep returns the next map, or nil and what to print instead.
func storyStep(t *testing.T, m *Map, d *datadriven.TestData) (*Map, string) {
	var member Member
	var key string
	var keys []string
	var r Replication
	var virtualNodes int
	d.MaybeScanArgs(t, "virtual-nodes", &virtualNodes)
	var rank int
	d.MaybeScanArgs(t, "rank", &rank)
	d.MaybeScanArgs(t, "ip", &member.PrivateIP)
	d.MaybeScanArgs(t, "threads", &member.Threads)
	d.MaybeScanArgs(t, "incarnation", &member.Incarnation)
	d.MaybeScanArgs(t, "key", &key)
	d.MaybeScanArgs(t, "nodes", &r.Global)
	d.MaybeScanArgs(t, "local", &r.Local)
	d.MaybeScanArgs(t, "keys", &keys)
	member.Rank, member.PublicIP = Rank(rank), member.PrivateIP

	var next *Map
	var err error
	switch d.Cmd {
	case "start":
		next, err = NewMap(Spec{Epoch: 1, VirtualNodes: virtualNodes})
	case "join":
		next, err = m.With(member)
	case "leave":
		next, err = m.Without(member.Rank)
	case "replicate":
		next, err = m.WithReplication(map[string]Replication{key: r})
	case "owners":
		var b strings.Builder
		slices.Sort(keys)
		for _, k := range keys {
			fmt.Fprintf(&b, "%s: %v\n", k, m.OwnersOf([]byte(k), nil))
		}
		return nil, b.String()
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	if err != nil {
		return nil, err.Error() + "\n"
	}
	return next, ""
}
