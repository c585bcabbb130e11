package manager

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// Names of the node's sockets as the actor sees them.
const (
	socketControl       = "control"
	socketRestartCount  = "restart count"
	socketChurn         = "churn"
	socketFunctionNodes = "function nodes"
)

// entry is what the manager knows of a node.
type entry struct {
	Node
	state    State
	pid      int
	restarts uint32
	detail   string
	order    uint64 // of its start, so that the newest is the first to be failed
}

// live says whether the node has its IP.
func (e *entry) live() bool { return e.state != Stopped && e.state != Failed }

// manager is the node's actor.
type manager struct {
	o           *Options
	provisioner Provisioner
	nodes       map[string]*entry
	started     uint64
	counters    struct{ malformed, ignored, added, removed, failed, refused uint64 }
}

// newManager makes the actor. One that is started again after a panic finds the nodes there.
func newManager(o *Options, p Provisioner) *manager {
	m := &manager{o: o, provisioner: p, nodes: map[string]*entry{}}
	for _, ev := range p.Nodes() {
		m.meet(ev).enter(ev)
	}
	return m
}

// meet adds a node that somebody before this actor started.
func (m *manager) meet(ev Event) *entry {
	m.started++
	e := &entry{Node: ev.Node, order: m.started}
	m.nodes[ev.IP] = e
	return e
}

// Step implements runtime.Actor. The provisioner's calls return at once.
func (m *manager) Step(_ time.Time, in runtime.Message, out *runtime.Outbox) {
	switch in.Kind {
	case runtime.KindTold:
		switch b := in.Body.(type) {
		case Event:
			m.event(b, out)
		case Node:
			if err := m.start(b); err != nil {
				m.refuse("%v", err)
			}
		}
	case runtime.KindTimer:
		if o, ok := in.Body.(overdue); ok {
			m.stopOverdue(o)
		}
	case runtime.KindRequest:
		if in.Socket == socketControl {
			m.control(in, out)
		} else {
			m.restartCount(in, out)
		}
	case runtime.KindFrame:
		if in.Socket != socketChurn {
			m.counters.ignored++ // function nodes are Cloudburst's; there are none here
			return
		}
		m.churn(string(in.Frame), out)
	}
}

// churn carries out add:<count>:<kind>, remove:<ip>:<kind> and fail:<count>:<kind>.
func (m *manager) churn(text string, out *runtime.Outbox) {
	c, err := messages.ParseChurn(text)
	if err != nil {
		m.counters.malformed++
		m.o.Logf("churn: %v", err)
		return
	}
	m.o.Logf("asked to %s", c)
	switch c.Action {
	case messages.ChurnAdd:
		m.add(c.Kind, c.Count)
	case messages.ChurnRemove:
		m.remove(c.IP, c.Kind, out)
	case messages.ChurnFail:
		m.fail(c.Kind, c.Count)
	}
}

func (m *manager) refuse(format string, args ...any) {
	m.counters.refused++
	m.o.Logf(format, args...)
}

// mostFailures is how many nodes may fail to start before no further IP is tried: then it is not the IP.
const mostFailures = 3

// add starts count nodes at IPs that are free.
func (m *manager) add(kind messages.NodeKind, count int) {
	failures := 0
	for _, ip := range m.free(kind) {
		if count == 0 || failures == mostFailures {
			return
		}
		switch err := m.start(Node{Kind: kind, IP: ip}); {
		case errors.Is(err, ErrTaken): // by a node that was started by hand, say
		case err != nil:
			m.refuse("%v", err)
			failures++
		default:
			count--
		}
	}
	if count > 0 {
		m.refuse("%d nodes of kind %s were not started: no more IPs for them (there are %d)", count, kind, len(m.o.Addresses[kind]))
	}
}

// free lists the IPs of a kind that no node has, those first that none ever had, and then those that were given out longest ago: an
// IP rests, as what is still on its way to the node that had it must not reach the next one. Anna's messages do not say which run of
// a node they mean, and a word to depart that is delivered late would make a new node leave.
func (m *manager) free(kind messages.NodeKind) []string {
	var ips []string
	given := map[string]uint64{}
	for _, ip := range m.o.Addresses[kind] {
		e := m.nodes[ip]
		if e != nil && e.live() {
			continue
		}
		if e != nil {
			given[ip] = e.order
		}
		ips = append(ips, ip)
	}
	slices.SortStableFunc(ips, func(a, b string) int { return cmp.Compare(given[a], given[b]) })
	return ips
}

// start starts one node.
func (m *manager) start(n Node) error {
	if err := m.provisioner.Start(n); err != nil {
		return err
	}
	m.forget()
	m.counters.added++
	m.started++
	e := m.nodes[n.IP]
	if e == nil {
		e = &entry{}
		m.nodes[n.IP] = e
	}
	e.Node, e.state, e.pid, e.detail, e.order = n, Starting, 0, "", m.started
	return nil
}

// forget drops nodes that are over when there are too many to remember, the oldest first.
func (m *manager) forget() {
	if len(m.nodes) < m.o.History {
		return
	}
	var over []*entry
	for _, e := range m.nodes {
		if !e.live() {
			over = append(over, e)
		}
	}
	slices.SortFunc(over, func(a, b *entry) int { return int(a.order) - int(b.order) })
	for _, e := range over[:min(len(over), len(m.nodes)-m.o.History+1)] {
		delete(m.nodes, e.IP)
	}
}

// overdue is the timer's message when a KN has had its time to leave.
type overdue struct {
	ip    string
	order uint64
}

// remove ends a node in order. A KN first gives its keys up: it is asked to depart, as Anna's nodes are, and ends by
// itself; others are just stopped. Of a node that is leaving or over nothing more is wanted.
func (m *manager) remove(ip string, kind messages.NodeKind, out *runtime.Outbox) {
	e := m.nodes[ip]
	switch {
	case e == nil || e.Kind != kind:
		m.refuse("no %s node at %s to be removed", kind, ip)
		return
	case !e.live() || e.state == Stopping:
		return
	}
	m.counters.removed++
	if kind != messages.KindMemory || len(m.o.Monitors) == 0 || e.state != Running {
		m.stop(e)
		return
	}
	depart, err := m.o.Plan.Address(ip, messages.KNSelfDepart, 0)
	report, reportErr := m.o.Plan.Address(m.o.Monitors[0], messages.MonitorDepartDone, 0)
	if err = errors.Join(err, reportErr, m.provisioner.Leave(ip)); err != nil {
		m.refuse("%v", err)
		m.stop(e)
		return
	}
	e.state = Stopping
	out.Send(depart.String(), []byte(report.String()))
	out.After(m.o.LeaveTimeout, overdue{ip, e.order})
}

// stop has the provisioner end a node.
func (m *manager) stop(e *entry) {
	if err := m.provisioner.Stop(e.IP); err != nil {
		m.refuse("%v", err)
		return
	}
	e.state = Stopping
}

// stopOverdue stops a KN that was asked to leave and is still there.
func (m *manager) stopOverdue(o overdue) {
	if e := m.nodes[o.ip]; e != nil && e.order == o.order && e.live() {
		m.o.Logf("%s %s has not left within %v; it is stopped", e.Kind, e.IP, m.o.LeaveTimeout)
		m.stop(e)
	}
}

// fail kills count nodes of a kind, the newest first, and none that is about to end anyway.
func (m *manager) fail(kind messages.NodeKind, count int) []*entry {
	var candidates []*entry
	for _, e := range m.nodes {
		if e.Kind == kind && e.live() && e.state != Stopping {
			candidates = append(candidates, e)
		}
	}
	slices.SortFunc(candidates, func(a, b *entry) int { return int(b.order) - int(a.order) })
	if len(candidates) < count {
		m.refuse("%d nodes of kind %s were not killed: there are %d", count-len(candidates), kind, len(candidates))
		count = len(candidates)
	}
	for _, e := range candidates[:count] {
		m.kill(e)
	}
	return candidates[:count]
}

func (m *manager) kill(e *entry) {
	if err := m.provisioner.Kill(e.IP); err != nil {
		m.refuse("%v", err)
		return
	}
	m.counters.failed++
	e.state = Stopping
}

// event takes the provisioner's word on a node. That its process is gone is passed on at once: a coordinator waits
// for nothing else (MGMT-2).
func (m *manager) event(ev Event, out *runtime.Outbox) {
	if ev.Gone {
		for _, ip := range m.o.Monitors {
			m.tell(out, ip, &messages.NodeGone{Kind: string(ev.Kind), PrivateIp: ev.IP, Pid: uint64(ev.PID), Detail: ev.Detail})
		}
	}
	m.o.Logf("%s %s is %s%s", ev.Kind, ev.IP, ev.State, described(ev))
	e := m.nodes[ev.IP]
	switch {
	case e == nil && ev.State != Stopped && ev.State != Failed:
		e = m.meet(ev)
		if ev.State == Stopping { // nobody knows how long it has been leaving
			out.After(m.o.LeaveTimeout, overdue{e.IP, e.order})
		}
	case e == nil || e.Kind != ev.Kind:
		return
	case e.state == Stopping && ev.State == Running:
		return // it was told to end while it began
	}
	e.enter(ev)
}

// enter takes an event's word.
func (e *entry) enter(ev Event) {
	e.state, e.restarts, e.detail = ev.State, ev.Restarts, ev.Detail
	switch {
	case ev.State == Running, ev.State == Stopping && ev.PID != 0:
		e.pid = ev.PID
	case ev.State != Stopping:
		e.pid = 0
	}
}

func described(ev Event) string {
	switch {
	case ev.State == Running:
		return fmt.Sprintf(", process %d", ev.PID)
	case ev.Detail != "":
		return ": " + ev.Detail
	}
	return ""
}

// restartCount answers restart:<private_ip>. Of an IP that it knows nothing about it says 0, as of a first start.
func (m *manager) restartCount(in runtime.Message, out *runtime.Outbox) {
	q, err := messages.ParseRestartQuery(string(in.Frame))
	count := uint32(0)
	switch e := m.nodes[q.PrivateIP]; {
	case err != nil:
		m.counters.malformed++
	case e != nil:
		count = e.restarts
	}
	out.Reply(in.ReplyTo, []byte(messages.FormatRestartCount(count)))
}

// control answers StatusQuery and NodeKill.
func (m *manager) control(in runtime.Message, out *runtime.Outbox) {
	body, err := messages.ParseControlFrame(in.Frame)
	var answer *messages.StatusReport
	switch b := body.(type) {
	case *messages.StatusQuery:
		answer = m.status(b.GetRequestId(), slices.Collect(maps.Values(m.nodes)))
	case *messages.NodeKill:
		answer = m.nodeKill(b)
	default:
		m.counters.malformed++
		answer = &messages.StatusReport{Role: "manage", Error: "want a StatusQuery or a NodeKill"}
		if err != nil {
			answer.Error = err.Error()
		}
	}
	frame, err := messages.ControlFrame(m.o.IP, answer)
	if err != nil { // a process printed something that is no UTF-8
		m.o.Logf("answer: %v", err)
		frame = nil
	}
	out.Reply(in.ReplyTo, frame)
}

// nodeKill kills the nodes that were named, or so many of a kind.
func (m *manager) nodeKill(k *messages.NodeKill) *messages.StatusReport {
	kind := messages.NodeKind(k.GetKind())
	if len(k.GetPrivateIps()) == 0 {
		return m.status(k.GetRequestId(), m.fail(kind, int(min(k.GetCount(), messages.MaxChurn))))
	}
	var killed []*entry
	for _, ip := range k.GetPrivateIps() {
		e := m.nodes[ip]
		if e == nil || !e.live() || kind != "" && e.Kind != kind {
			m.refuse("no node at %s to be killed", ip)
			continue
		}
		m.kill(e)
		killed = append(killed, e)
	}
	return m.status(k.GetRequestId(), killed)
}

func (m *manager) status(id string, nodes []*entry) *messages.StatusReport {
	n := &m.counters
	r := &messages.StatusReport{RequestId: id, Role: "manage", Facts: map[string]string{"ip": m.o.IP}, Counters: map[string]uint64{
		"malformed": n.malformed, "ignored": n.ignored, "added": n.added, "removed": n.removed, "failed": n.failed, "refused": n.refused,
	}}
	slices.SortFunc(nodes, func(a, b *entry) int { return int(a.order) - int(b.order) })
	for _, e := range nodes {
		r.Nodes = append(r.Nodes, &messages.NodeStatus{
			Kind: string(e.Kind), PrivateIp: e.IP, PublicIp: e.IP, Pid: uint64(e.pid), State: string(e.state),
			Restarts: e.restarts, Detail: e.detail,
		})
	}
	return r
}

// tell queues a message for an M-node.
func (m *manager) tell(out *runtime.Outbox, ip string, body messages.Message) {
	to, err := m.o.Plan.Address(ip, messages.MonitorControl, 0)
	if err != nil {
		m.o.Logf("%v", err)
		return
	}
	frame, err := messages.ControlFrame(m.o.IP, body)
	if err != nil {
		m.o.Logf("to %s: %v", to, err)
		return
	}
	out.Send(to.String(), frame)
}
