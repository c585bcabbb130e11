package kn

import (
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// ErrEvicted: a map is in force that leaves this node out although it never prepared to leave: it was taken for
// dead. The process must start anew.
var ErrEvicted = errors.New("the cluster goes on without this node, which it took for dead; start it again")

// leaving is the node's orderly end: it says goodbye until a map leaves it out, reports that it is done, and ends. Before it does,
// it tells clients for a while where their keys are now: Anna's Python client neither gives a request up nor repeats it.
type leaving struct {
	asked  bool
	report string // who asked by Anna's self-depart message, and wants to hear when it is done
	at     time.Time
	gone   hashring.Epoch // the map that leaves it out: it ends when every thread has it, and whoever asked knows. 0: none
	over   bool
	ends   time.Time // when the node that has left ends; zero until the farewell begins
	polite bool      // the farewell is on
}

// leaveNow asks the control actor to begin the node's orderly end.
type leaveNow struct{}

func (l *leaving) begun() bool { return l.asked || l.over }

// begin starts the goodbye. A node that is in no map just ends.
func (l *leaving) begin(c *control, report string, now time.Time, out *runtime.Outbox) {
	if report != "" {
		l.report = report
	}
	if l.begun() {
		return
	}
	l.asked = true
	c.o.Logf("leaves the cluster")
	if !c.joined {
		l.done(c, out)
		c.finish(nil)
		return
	}
	l.tick(c, now, out)
}

func (l *leaving) tick(c *control, now time.Time, out *runtime.Outbox) {
	if l.polite {
		l.farewell(c, now)
	}
	if !l.asked || l.over || now.Sub(l.at) < announceEvery {
		return
	}
	l.at = now
	c.sendMonitors(&messages.NodeBye{
		Rank: uint32(c.self.rank), PrivateIp: c.o.PrivateIP, Incarnation: c.self.incarnation, Reason: "it was asked to leave",
	}, out)
}

// left takes notice of a map without this node. If it cleared its ranges for the change, it may end in peace.
func (l *leaving) left(c *control, epoch hashring.Epoch) {
	if l.over {
		return
	}
	if !l.asked && !c.prepared {
		l.over = true
		c.finish(fmt.Errorf("epoch %d: %w", epoch, ErrEvicted))
		return
	}
	l.gone = epoch
}

// acknowledged ends a node that a map leaves out, once it has told so to those who want to know: a coordinator would wait for it
// before it does anything else.
func (l *leaving) acknowledged(c *control, out *runtime.Outbox) {
	if l.gone > 0 && !l.over && c.installedBy(l.gone) {
		l.done(c, out)
		l.polite = true
	}
}

// farewell ends the node when it has answered for long enough.
func (l *leaving) farewell(c *control, now time.Time) {
	switch {
	case l.ends.IsZero():
		l.ends = now.Add(c.o.Farewell)
	case !now.Before(l.ends):
		l.polite = false
		c.finish(nil)
	}
}

// done reports as Anna's nodes do; what is queued leaves before the node ends.
func (l *leaving) done(c *control, out *runtime.Outbox) {
	l.over = true
	text := messages.DepartDone{Node: messages.Node{Tier: messages.Tier_MEMORY, PublicIP: c.o.PublicIP, PrivateIP: c.o.PrivateIP}}.String()
	told := map[string]bool{"": true}
	addresses := []string{l.report}
	for _, ip := range c.o.Monitors {
		addresses = append(addresses, c.o.address(ip, messages.MonitorDepartDone))
	}
	for _, to := range addresses {
		if !told[to] {
			told[to] = true
			out.Send(to, []byte(text))
		}
	}
	c.o.Logf("has left the cluster")
}
