package kn

import (
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// announcing makes the node known: Anna's join string and our NodeHello, again and again until the map has it.
type announcing struct {
	at    time.Time
	joins uint32 // how many times the node has been started before, if somebody knows
}

// announceEvery is the time between repetitions.
const announceEvery = time.Second

// questionTimeout bounds the best-effort questions at start.
const questionTimeout = 2 * time.Second

// Tags of requests.
const (
	askedSeed     = "seed"
	askedRestarts = "restarts"
)

// start asks, best effort, who else is there and how many lives the node has had.
func (a *announcing) start(c *control, out *runtime.Outbox) {
	if c.o.Seed != "" {
		out.Request(c.o.address(c.o.Seed, messages.RouteSeed), []byte("join"), questionTimeout, askedSeed)
	}
	if c.o.Manage != "" {
		question := messages.RestartQuery{PrivateIP: c.o.PrivateIP}.String()
		out.Request(c.o.address(c.o.Manage, messages.ManageRestartCount), []byte(question), questionTimeout, askedRestarts)
	}
}

func (a *announcing) reply(c *control, in runtime.Message) {
	if in.Err != nil {
		return
	}
	switch in.Body {
	case askedSeed:
		var m messages.ClusterMembership
		if err := messages.Unmarshal(in.Frame, &m); err != nil {
			c.unknown++
			return
		}
		for _, tier := range m.GetTiers() {
			c.o.Logf("the seed knows %d nodes of tier %s", len(tier.GetServers()), tier.GetTierId())
		}
	case askedRestarts:
		if n, err := messages.ParseRestartCount(string(in.Frame)); err == nil {
			a.joins = n
		}
	}
}

func (a *announcing) tick(c *control, now time.Time, out *runtime.Outbox) {
	if c.joined || c.leave.begun() || now.Sub(a.at) < announceEvery {
		return
	}
	a.at = now
	notice := messages.Notice{JoinCount: a.joins}
	notice.Tier, notice.PublicIP, notice.PrivateIP = messages.Tier_MEMORY, c.o.PublicIP, c.o.PrivateIP
	text := notice.String()
	for _, ip := range c.o.Routes {
		out.Send(c.o.address(ip, messages.RouteNotify), []byte(text))
	}
	for _, ip := range c.o.Monitors {
		out.Send(c.o.address(ip, messages.MonitorNotify), []byte(text))
	}
	c.sendMonitors(&messages.NodeHello{
		Rank: uint32(c.self.rank), PublicIp: c.o.PublicIP, PrivateIp: c.o.PrivateIP, Threads: uint32(c.o.Threads),
		Incarnation: c.self.incarnation, Tier: uint32(messages.Tier_MEMORY), JoinCount: a.joins, Pid: uint64(c.o.PID),
	}, out)
}
