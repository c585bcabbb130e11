package messages

import (
	"errors"
	"fmt"
	"strings"
)

// ErrThreadRange means that a thread number or count does not fit the port plan; Plan's methods wrap it.
var ErrThreadRange = errors.New("thread out of the port plan's range")

// Plan is one of the two port numbering plans. A socket of thread t listens on its base port plus t.
type Plan uint8

const (
	// PlanDinomo is the default. Per-thread sockets are 100 ports apart.
	PlanDinomo Plan = iota
	// PlanAnna has Anna's numbers, for clients that know only those. Per-thread sockets are 50 ports apart, and
	// Bindings says what that costs.
	PlanAnna
	numPlans
)

// String returns the name that ParsePlan reads.
func (p Plan) String() string {
	switch p {
	case PlanDinomo:
		return "dinomo"
	case PlanAnna:
		return "anna"
	}
	return fmt.Sprintf("Plan(%d)", uint8(p))
}

// ParsePlan reads a plan's name: dinomo or anna.
func ParsePlan(s string) (Plan, error) {
	for p := range numPlans {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("port plan %q: want dinomo or anna", clip(s))
}

// Role is a kind of process that listens.
type Role uint8

// The roles that own sockets.
const (
	RoleKN Role = iota
	RoleRoute
	RoleMonitor
	RoleBench
	RoleManage
	RoleClient
	RoleCache
	RoleDPM
	numRoles
)

var roleNames = [numRoles]string{"kn", "route", "monitor", "bench", "manage", "client", "cache", "dpm"}

// String returns the role's name as the command line has it.
func (r Role) String() string {
	if r >= numRoles {
		return fmt.Sprintf("Role(%d)", uint8(r))
	}
	return roleNames[r]
}

// Pattern is what the binder of a socket speaks.
type Pattern uint8

const (
	// Pull is a ZeroMQ PULL socket; peers PUSH.
	Pull Pattern = iota
	// Rep is a ZeroMQ REP socket; peers REQ.
	Rep
	// Stream is a plain TCP listener.
	Stream
)

// String returns PULL, REP or TCP.
func (p Pattern) String() string { return [...]string{"PULL", "REP", "TCP"}[p] }

// Socket names something that a role binds.
type Socket uint8

// The sockets of Anna and Dinomo, then our own (KNControl and after).
const (
	KNJoin Socket = iota
	KNDepart
	KNSelfDepart
	KNReplicationResponse
	KNRequest
	KNGossip
	KNFailover
	KNReplicationChange
	KNCacheIPResponse
	KNManagementResponse
	KNServerResponse
	RouteSeed
	RouteNotify
	RouteKeyAddress
	RouteReplicationResponse
	RouteReplicationChange
	MonitorNotify
	MonitorResponse
	MonitorDepartDone
	MonitorFeedback
	MonitorStatistics
	BenchCommand
	ManageRestartCount
	ManageChurn
	ManageFunctionNodes
	ClientResponse
	ClientKeyAddress
	CacheUpdate
	KNControl
	RouteControl
	MonitorControl
	ManageControl
	BenchControl
	DPMVerbs
	DPMControl
	// NumSockets is how many there are.
	NumSockets
)

// socketFacts is one row of the port table.
type socketFacts struct {
	name    string
	role    Role
	pattern Pattern
	// perThread: each thread of the role binds one; otherwise the node binds one, as its thread 0.
	perThread bool
	base      [numPlans]uint16
}

// sockets is the port table. Our own sockets have one number in both plans, above everything of theirs, and 100 apart
// so that they collide with nothing at any thread count.
var sockets = [NumSockets]socketFacts{
	KNJoin:                   {"node join", RoleKN, Pull, false, [...]uint16{6000, 6000}},
	KNDepart:                 {"node depart", RoleKN, Pull, false, [...]uint16{6100, 6050}},
	KNSelfDepart:             {"self depart", RoleKN, Pull, false, [...]uint16{6200, 6100}},
	KNReplicationResponse:    {"replication response", RoleKN, Pull, true, [...]uint16{6300, 6150}},
	KNRequest:                {"key request", RoleKN, Pull, true, [...]uint16{6400, 6200}},
	KNGossip:                 {"gossip", RoleKN, Pull, true, [...]uint16{6500, 6250}},
	KNFailover:               {"failover", RoleKN, Rep, false, [...]uint16{6600, 6251}},
	KNReplicationChange:      {"replication change", RoleKN, Pull, false, [...]uint16{6700, 6300}},
	KNCacheIPResponse:        {"cache-ip response", RoleKN, Pull, true, [...]uint16{6800, 7050}},
	KNManagementResponse:     {"management node response", RoleKN, Pull, true, [...]uint16{6900, 7100}},
	KNServerResponse:         {"server response", RoleKN, Pull, true, [...]uint16{7900, 6860}},
	RouteSeed:                {"seed", RoleRoute, Rep, false, [...]uint16{7000, 6350}},
	RouteNotify:              {"notify", RoleRoute, Pull, false, [...]uint16{7100, 6400}},
	RouteKeyAddress:          {"key address", RoleRoute, Pull, true, [...]uint16{8200, 6450}},
	RouteReplicationResponse: {"replication response", RoleRoute, Pull, true, [...]uint16{7200, 6500}},
	RouteReplicationChange:   {"replication change", RoleRoute, Pull, false, [...]uint16{7300, 6550}},
	MonitorNotify:            {"notify", RoleMonitor, Pull, false, [...]uint16{7400, 6600}},
	MonitorResponse:          {"response", RoleMonitor, Pull, false, [...]uint16{7500, 6650}},
	MonitorDepartDone:        {"depart done", RoleMonitor, Pull, false, [...]uint16{7600, 6700}},
	MonitorFeedback:          {"feedback", RoleMonitor, Pull, false, [...]uint16{7700, 6750}},
	MonitorStatistics:        {"internal statistics", RoleMonitor, Pull, false, [...]uint16{7800, 6810}},
	BenchCommand:             {"command", RoleBench, Pull, true, [...]uint16{8000, 6900}},
	ManageRestartCount:       {"restart count", RoleManage, Rep, false, [...]uint16{8100, 7000}},
	ManageChurn:              {"churn", RoleManage, Pull, false, [...]uint16{8101, 7001}},
	ManageFunctionNodes:      {"function nodes", RoleManage, Pull, false, [...]uint16{8102, 7002}},
	ClientResponse:           {"response", RoleClient, Pull, true, [...]uint16{8300, 6800}},
	ClientKeyAddress:         {"key address", RoleClient, Pull, true, [...]uint16{8400, 6850}},
	CacheUpdate:              {"update", RoleCache, Pull, true, [...]uint16{8500, 7150}},
	KNControl:                {"control", RoleKN, Pull, false, [...]uint16{8600, 8600}},
	RouteControl:             {"control", RoleRoute, Pull, false, [...]uint16{8700, 8700}},
	MonitorControl:           {"control", RoleMonitor, Pull, false, [...]uint16{8800, 8800}},
	ManageControl:            {"control", RoleManage, Rep, false, [...]uint16{8900, 8900}},
	BenchControl:             {"control", RoleBench, Pull, false, [...]uint16{9000, 9000}},
	DPMVerbs:                 {"verbs", RoleDPM, Stream, false, [...]uint16{9100, 9100}},
	DPMControl:               {"control", RoleDPM, Pull, false, [...]uint16{9200, 9200}},
}

// String returns the role and what the socket is for, such as "kn key request".
func (s Socket) String() string {
	if s >= NumSockets {
		return fmt.Sprintf("Socket(%d)", uint8(s))
	}
	return sockets[s].role.String() + " " + sockets[s].name
}

// Role says who binds s.
func (s Socket) Role() Role { return sockets[s].role }

// Pattern says what the binder of s speaks.
func (s Socket) Pattern() Pattern { return sockets[s].pattern }

// PerThread says whether every thread of the role binds s; otherwise the node binds it once, as thread 0.
func (s Socket) PerThread() bool { return sockets[s].perThread }

// MaxThreads is how many threads a node may have, whatever its role: 64 in the dinomo plan, and 50 in the anna plan,
// where the bases are only 50 apart.
func (p Plan) MaxThreads() int {
	if p == PlanAnna {
		return 50
	}
	return 64
}

// Base returns the port of s at thread 0.
func (p Plan) Base(s Socket) uint16 { return sockets[s].base[p] }

// Port returns the port of s at a thread. A thread other than 0 is refused for a socket that a node binds once.
func (p Plan) Port(s Socket, thread int) (uint16, error) {
	switch {
	case thread < 0 || thread >= p.MaxThreads():
		return 0, fmt.Errorf("%w: %s of thread %d; the %s plan has threads 0 to %d", ErrThreadRange, s, thread, p, p.MaxThreads()-1)
	case thread > 0 && !s.PerThread():
		return 0, fmt.Errorf("%w: %s of thread %d; a node has one, at thread 0", ErrThreadRange, s, thread)
	}
	return p.Base(s) + uint16(thread), nil
}

// Address returns where s of a node's thread listens.
func (p Plan) Address(ip string, s Socket, thread int) (Address, error) {
	addr, err := ParseIP(ip)
	if err != nil {
		return Address{}, fmt.Errorf("address of %s: %w", s, err)
	}
	port, err := p.Port(s, thread)
	if err != nil {
		return Address{}, err
	}
	return Address{IP: addr, Port: port}, nil
}

// Binding is one port that a node listens on.
type Binding struct {
	Socket Socket
	Thread int
	Port   uint16
}

// Bindings lists what a node of a role with so many threads listens on, in the order of the sockets, each port once.
//
// In the anna plan a KN's failover port is the gossip port of its thread 1. Anna's peers expect gossip there, and
// failover is not Anna's, so a KN with two threads or more binds no failover socket in that plan; failures
// are then announced on the control socket only.
func (p Plan) Bindings(r Role, threads int) ([]Binding, error) {
	if threads < 1 || threads > p.MaxThreads() {
		return nil, fmt.Errorf("%w: %s with %d threads; the %s plan allows 1 to %d", ErrThreadRange, r, threads, p, p.MaxThreads())
	}
	var out []Binding
	for s := range NumSockets {
		if s.Role() != r || !p.Binds(s, threads) {
			continue
		}
		n := 1
		if s.PerThread() {
			n = threads
		}
		for t := range n {
			out = append(out, Binding{Socket: s, Thread: t, Port: p.Base(s) + uint16(t)})
		}
	}
	return out, nil
}

// Binds says whether a node with so many threads has the socket at all; see Bindings for the one that may be missing.
func (p Plan) Binds(s Socket, threads int) bool {
	return s != KNFailover || p != PlanAnna || threads < 2
}

// CheckShared says whether nodes of the given roles, one of each with so many threads, fit on one IP address. The plans
// are made for an address per node; sharing one is what Anna's local mode does, and there the anna plan allows fewer
// threads than MaxThreads. The error names the sockets that collide.
func (p Plan) CheckShared(threads map[Role]int) error {
	taken := make(map[uint16]Binding)
	var clashes []string
	for r := range numRoles {
		n, here := threads[r]
		if !here {
			continue
		}
		bindings, err := p.Bindings(r, n)
		if err != nil {
			return err
		}
		for _, b := range bindings {
			if other, clash := taken[b.Port]; clash {
				clashes = append(clashes, fmt.Sprintf("port %d: %s of thread %d and %s of thread %d",
					b.Port, other.Socket, other.Thread, b.Socket, b.Thread))
				continue
			}
			taken[b.Port] = b
		}
	}
	if len(clashes) == 0 {
		return nil
	}
	return fmt.Errorf("%w: roles on one address collide in the %s plan; give each node an address of its own or use fewer threads: %s",
		ErrThreadRange, p, strings.Join(clashes[:min(len(clashes), 3)], "; "))
}
