package manager

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// The story's management node is 127.0.10.1; 127.0.10.3 stands for the M-node and 127.0.10.99 for whoever asks.
const (
	managerIP = "127.0.10.1"
	monitorIP = "127.0.10.3"
	askerIP   = "127.0.10.99"
)

// story is a management node on a simulated network, with a provisioner that only takes notes.
type story struct {
	t     *testing.T
	net   *runtime.SimNet
	host  *runtime.SimHost
	o     Options
	plan  messages.Plan
	lines []string // what happened since the last command
	kept  []Event  // what the provisioner has when the actor begins
}

// notes is a Provisioner that starts nothing.
type notes struct{ s *story }

func (n notes) Start(node Node) error {
	n.s.note("start %s %s", node.Kind, node.IP)
	switch node.IP {
	case "127.0.10.108":
		return fmt.Errorf("start %s at %s: %w", node.Kind, node.IP, ErrTaken)
	case "127.0.10.109":
		return fmt.Errorf("start %s at %s: no such machine", node.Kind, node.IP)
	}
	return nil
}

func (n notes) Recover() (int, error) { return 0, nil }
func (n notes) Nodes() []Event        { return n.s.kept }
func (n notes) Leave(ip string) error { n.s.note("leave %s", ip); return nil }

func (n notes) Stop(ip string) error { n.s.note("stop %s", ip); return nil }
func (n notes) Kill(ip string) error { n.s.note("kill %s", ip); return nil }
func (n notes) Close() error         { return nil }

func (s *story) note(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func newStory(t *testing.T) *story {
	s := &story{t: t, net: runtime.NewSimNet(1, runtime.SimOptions{})}
	s.o = Options{
		IP: managerIP, Monitors: []string{monitorIP}, LeaveTimeout: 10 * time.Second, History: 4,
		Provisioner: func(func(Event)) (Provisioner, error) { return notes{s}, nil },
		Addresses: map[messages.NodeKind][]string{
			messages.KindMemory: {"127.0.10.100", "127.0.10.101", "127.0.10.102", "127.0.10.108", "127.0.10.109"}, messages.KindBenchmark: {"127.0.10.20"},
		},
		Logf: func(format string, args ...any) { s.note("log: "+format, args...) },
	}
	s.o.EnsureDefaults()
	if err := s.o.Validate(); err != nil {
		t.Fatal(err)
	}
	s.host = runtime.NewSimHost(s.net, managerIP)
	if err := Install(s.host, &s.o, notes{s}); err != nil {
		t.Fatal(err)
	}
	monitor := s.net.Node(monitorIP)
	listen := func(ip string, socket messages.Socket, deliver func([]byte)) {
		if _, err := monitor.Listen(s.address(ip, socket), deliver); err != nil {
			t.Fatal(err)
		}
	}
	listen(monitorIP, messages.MonitorControl, func(frame []byte) {
		m, err := messages.ParseControlFrame(frame)
		if err != nil {
			t.Fatal(err)
		}
		g := m.(*messages.NodeGone)
		s.note("M-node hears: %s %s, process %d, is gone: %s", g.GetKind(), g.GetPrivateIp(), g.GetPid(), g.GetDetail())
	})
	for _, ip := range s.o.Addresses[messages.KindMemory] {
		kn := s.net.Node(ip)
		if _, err := kn.Listen(s.address(ip, messages.KNSelfDepart), func(frame []byte) { s.note("KN %s is asked to depart and report to %s", ip, frame) }); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *story) address(ip string, socket messages.Socket) string {
	a, err := s.plan.Address(ip, socket, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.String()
}

// run carries out one command of a story file.
func (s *story) run(d *datadriven.TestData) string {
	s.lines = nil
	switch d.Cmd {
	case "churn":
		for line := range strings.Lines(d.Input) {
			if err := s.net.Node(askerIP).Send(s.address(managerIP, messages.ManageChurn), []byte(strings.TrimSpace(line))); err != nil {
				s.t.Fatal(err)
			}
		}
	case "event":
		s.event(d)
	case "restarts":
		s.request(messages.ManageRestartCount, []byte(strings.TrimSpace(d.Input)), func(reply []byte) { s.note("%s", reply) })
	case "status":
		s.control(&messages.StatusQuery{RequestId: "q"})
	case "kill":
		var ips []string
		if d.Input != "" {
			ips = strings.Fields(d.Input)
		}
		kill := &messages.NodeKill{RequestId: "q", PrivateIps: ips}
		if d.HasArg("kind") {
			d.ScanArgs(s.t, "kind", &kill.Kind)
		}
		if d.HasArg("count") {
			d.ScanArgs(s.t, "count", &kill.Count)
		}
		s.control(kill)
	case "garbage":
		s.request(messages.ManageControl, []byte("\xff"), s.report)
	case "wait":
		var text string
		d.ScanArgs(s.t, "for", &text)
		duration, err := time.ParseDuration(text)
		if err != nil {
			s.t.Fatal(err)
		}
		s.net.RunFor(duration)
	}
	s.net.RunFor(100 * time.Millisecond)
	return strings.Join(append(s.lines, ""), "\n")
}

// event gives the manager one of the provisioner's events.
func (s *story) event(d *datadriven.TestData) {
	var e Event
	var kind, state string
	d.ScanArgs(s.t, "ip", &e.IP)
	d.ScanArgs(s.t, "kind", &kind)
	d.ScanArgs(s.t, "state", &state)
	if d.HasArg("pid") {
		d.ScanArgs(s.t, "pid", &e.PID)
	}
	if d.HasArg("restarts") {
		d.ScanArgs(s.t, "restarts", &e.Restarts)
	}
	e.Kind, e.State, e.Gone, e.Detail = messages.NodeKind(kind), State(state), d.HasArg("gone"), strings.TrimSpace(d.Input)
	if err := s.host.Tell(actorName, e); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) request(socket messages.Socket, frame []byte, done func(reply []byte)) {
	err := s.net.Node(askerIP).Request(s.address(managerIP, socket), frame, time.Second, func(reply []byte, err error) {
		if err != nil {
			s.note("no answer: %v", err)
			return
		}
		done(reply)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) control(m messages.Message) {
	frame, err := messages.ControlFrame("asker", m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.request(messages.ManageControl, frame, s.report)
}

// report prints a StatusReport.
func (s *story) report(reply []byte) {
	m, err := messages.ParseControlFrame(reply)
	if err != nil {
		s.t.Fatal(err)
	}
	r := m.(*messages.StatusReport)
	if r.GetError() != "" {
		s.note("error: %v", strings.SplitN(r.GetError(), ":", 2)[0])
	}
	for _, n := range r.GetNodes() {
		s.note("%s %s %s pid=%d restarts=%d %s", n.GetKind(), n.GetPrivateIp(), n.GetState(), n.GetPid(), n.GetRestarts(), n.GetDetail())
	}
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newStory(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(d) })
		if len(s.host.Panics) > 0 {
			t.Fatal(s.host.Panics[0])
		}
	})
}

func TestForgetKeepsWhatIsThere(t *testing.T) {
	s := newStory(t)
	m := newManager(&s.o, notes{s})
	for i := range 10 {
		if err := m.start(Node{messages.KindMemory, fmt.Sprintf("127.0.11.%d", i)}); err != nil {
			t.Fatal(err)
		}
		if i != 2 {
			m.nodes[fmt.Sprintf("127.0.11.%d", i)].state = Stopped
		}
	}
	if len(m.nodes) > s.o.History || m.nodes["127.0.11.2"] == nil {
		t.Errorf("%d nodes are remembered, the limit is %d; the running one among them: %v", len(m.nodes), s.o.History, m.nodes["127.0.11.2"] != nil)
	}
	if !slices.Contains(s.lines, "start memory 127.0.11.9") {
		t.Error("nothing was started")
	}
}
