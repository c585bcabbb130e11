package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// TestScenarios runs testdata/*.txt: stories of a cluster that goes wrong in one certain way. Nothing happens by chance there, and nobody
// restarts what has died. Nodes are named dpm, kn1, m1, rn1, client1; kn=1 is kn1. Commands:
//
//	start kn=N threads=N route=N monitor=N [merge=paused] [cache=POLICY] [fabric=mapped] [seed=N]
//	                             starts the nodes and waits for the first map
//	put [client=N] [kn=N] k=v... [nowait]
//	get, delete [client=N] [kn=N] k... [nowait]
//	                             clients' operations, sent together; kn=N says who shall own the keys where they are named first
//	await                        waits for the operations that nobody waited for
//	crash NAME [silent], start NAME
//	                             kill -9 (of the pool's node: a power cut), and a start; silent: the machine is lost, its connections are not
//	failover NAME                the management node says that it has waited for the process; waits for a map without it
//	expire NAME [within=N]       waits until its lease has run out, and a map without it is in force: after N ms at most
//	join NAME, leave NAME [nowait]
//	replicate k [global=N] [local=N] [nowait], dereplicate k [nowait]
//	pause NAME, resume NAME      SIGSTOP, SIGCONT
//	partition A B [oneway]       cuts the link; of a KN and dpm, the verbs, too
//	heal                         mends all links
//	deliver drop|hold|repeat=MESSAGE [from=NAME] [to=NAME] [times=N]
//	                             what becomes of the next N (all) such messages; repeat delivers each twice more, late
//	release [order=reverse]      lets go what was held; all messages are delivered from now on
//	tick ms=N                    lets time pass
//	state                        the map in force, and who serves the keys
//	events                       what coordinators decided since the last time
//	history                      the clients' operations so far, with the verdict
//
// Whatever the watcher finds is printed with the command during which it was found.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &scenario{keys: map[string]string{}, copies: map[string]int{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.command(t, d)
		})
	})
}

// patience bounds what a command waits for, in virtual time.
const patience = 10 * time.Second

// scenario is a world that a file drives.
type scenario struct {
	*World
	keys     map[string]string // as the file calls them -> as they are
	pending  []func() bool     // operations under way: say whether they are over
	outcomes []string          // of operations that nobody waited for
	events   []string
	rules    []*rule
	held     []heldFrame
	copies   map[string]int // frames that are copies, and pass
	told     int            // violations printed so far
}

// rule says what becomes of messages of a kind.
type rule struct {
	action, kind, from, to string
	left                   int // -1: of all
}

type heldFrame struct {
	from, to string
	frame    []byte
}

func (s *scenario) command(t *testing.T, d *datadriven.TestData) string {
	commands := map[string]func(*arguments) (string, error){
		"start": s.startNodes, "put": s.operate, "get": s.operate, "delete": s.operate, "await": s.await,
		"crash": s.crash, "failover": s.failover, "expire": s.expire, "join": s.joinNode, "leave": s.leaveNode,
		"replicate": s.replication, "dereplicate": s.replication, "pause": s.pause, "resume": s.resume, "partition": s.partition,
		"heal": s.mend, "deliver": s.deliver, "release": s.release, "tick": s.tick, "state": s.state, "events": s.tellEvents, "history": s.history,
	}
	run, ok := commands[d.Cmd]
	if !ok {
		d.Fatalf(t, "there is no command %q", d.Cmd)
	}
	if s.World == nil && d.Cmd != "start" {
		d.Fatalf(t, "%s before start", d.Cmd)
	}
	text, err := run(&arguments{d})
	if err != nil {
		text += "error: " + err.Error()
	}
	if text == "" {
		text = "ok"
	}
	for _, v := range s.watch.violations[s.told:] {
		text += "\nVIOLATION " + v
		t.Errorf("%s: %s", d.Pos, v)
	}
	s.told = len(s.watch.violations)
	return text
}

// arguments are those of a command.
type arguments struct{ *datadriven.TestData }

func (a *arguments) number(name string, otherwise int) int {
	if arg, ok := a.Arg(name); ok && len(arg.Vals) == 1 {
		if n, err := strconv.Atoi(arg.Vals[0]); err == nil {
			return n
		}
	}
	return otherwise
}

func (a *arguments) text(name string) string {
	if arg, ok := a.Arg(name); ok {
		return strings.Join(arg.Vals, ",")
	}
	return ""
}

// names lists the nodes, or keys, that are named: those without a value, and kn=N.
func (a *arguments) names() []string {
	var names []string
	for _, arg := range a.CmdArgs {
		switch {
		case arg.Key == "kn":
			names = append(names, "kn"+arg.Vals[0])
		case len(arg.Vals) == 0 && arg.Key != "silent" && arg.Key != "nowait" && arg.Key != "oneway":
			names = append(names, arg.Key)
		}
	}
	return names
}

func (s *scenario) startNodes(a *arguments) (string, error) {
	if s.World != nil {
		return s.each(a, func(p *process) { p.start() }, func(p *process) bool { return p.up })
	}
	o := Options{
		Seed: uint64(a.number("seed", 1)), KNs: a.number("kn", 2), Threads: a.number("threads", 1), Routes: a.number("route", 1),
		Monitors: a.number("monitor", 1), Clients: 1, Keys: 1, CachePolicy: a.text("cache"), Segments: 64,
		Fabric: a.text("fabric"), Faults: []string{}, Logf: s.note,
	}
	if o.CachePolicy == "" {
		o.CachePolicy = "value-only"
	}
	if o.Fabric == "" {
		o.Fabric = Remote
	}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return "", err
	}
	s.World = newWorld(o)
	s.unmanaged, s.merged, s.watch.keys, s.watch.hook = true, nil, nil, s.pass
	if a.text("merge") == "paused" {
		s.mergers = -1
	}
	s.start()
	return "", s.wait("the first map", func() bool { return s.members(s.kns[:o.KNs]...) })
}

// note keeps what coordinators decide.
func (s *scenario) note(format string, args ...any) {
	_, line, _ := strings.Cut(fmt.Sprintf(format, args...), " s  ")
	if name, event, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(name, "m") {
		if kind, _, _ := strings.Cut(event, ":"); strings.HasPrefix(kind, "change-") || kind == "rank-dead" {
			s.events = append(s.events, name+" "+kind)
		}
	}
}

func (s *scenario) wait(what string, ok func() bool) error {
	if !s.runUntil(patience, ok) {
		return fmt.Errorf("waited %v for %s", patience, what)
	}
	return nil
}

// node finds a process by its name.
func (s *scenario) node(name string) (*process, error) {
	for _, p := range s.all() {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no node %q", name)
}

// each does something to each node that is named, and waits until it is done.
func (s *scenario) each(a *arguments, do func(*process), done func(*process) bool) (string, error) {
	var text []string
	for _, name := range a.names() {
		p, err := s.node(name)
		if err != nil {
			return "", err
		}
		do(p)
		if err := s.wait(name, func() bool { return done(p) }); err != nil {
			return "", err
		}
		text = append(text, name+map[bool]string{true: " up", false: " down"}[p.node != nil])
	}
	return strings.Join(text, ", "), nil
}

func always(*process) bool { return true }

func (s *scenario) crash(a *arguments) (string, error) {
	silent := a.HasArg("silent")
	return s.each(a, func(p *process) {
		p.silent = silent
		p.crash()
	}, always)
}

func (s *scenario) pause(a *arguments) (string, error) {
	_, err := s.each(a, (*process).pause, always)
	return "", err
}

func (s *scenario) resume(a *arguments) (string, error) {
	_, err := s.each(a, (*process).resume, always)
	return "", err
}

// member finds a node's entry in the map in force.
func (s *scenario) member(p *process) (hashring.Member, bool) {
	if m := s.currentMap(); m != nil {
		for _, member := range m.Members() {
			if member.PrivateIP == p.ip {
				return member, true
			}
		}
	}
	return hashring.Member{}, false
}

// members says whether just these KNs are in the map, and every node that is up has it.
func (s *scenario) members(kns ...*process) bool {
	m := s.currentMap()
	if m == nil || len(m.Members()) != len(kns) {
		return false
	}
	for _, p := range kns {
		if _, in := s.member(p); !in || p.kn == nil {
			return false
		}
	}
	return s.spread(m.Epoch())
}

// spread says whether every KN that can has the epoch.
func (s *scenario) spread(epoch hashring.Epoch) bool {
	for _, p := range s.kns {
		if p.kn == nil || p.node.Paused() {
			continue
		}
		if _, in := s.member(p); in && p.kn.Epoch() < epoch {
			return false
		}
	}
	return true
}

// crashed nodes' logs as the failover finds them.
func (s *scenario) failover(a *arguments) (string, error) {
	p, member, err := s.leaver(a)
	if err != nil {
		return "", err
	}
	segments, before := s.unmerged(member), s.dpm.dpm.Pool().Stats().MergedEntries
	s.tellGone(p, p.pid, "killed")
	if err := s.without(p); err != nil {
		return "", err
	}
	merged := s.dpm.dpm.Pool().Stats().MergedEntries - before
	return fmt.Sprintf("epoch %d; dpm drained %s segments=%d entries=%d%s", s.epoch(), p.name, segments, merged, s.ownersOf()), nil
}

func (s *scenario) expire(a *arguments) (string, error) {
	p, _, err := s.leaver(a)
	if err != nil {
		return "", err
	}
	began := s.now()
	if err := s.without(p); err != nil {
		return "", err
	}
	if within := time.Duration(a.number("within", 10_000)) * time.Millisecond; s.now()-began > within {
		return "", fmt.Errorf("it took %v", s.now()-began)
	}
	return fmt.Sprintf("epoch %d%s", s.epoch(), s.ownersOf()), nil
}

func (s *scenario) leaver(a *arguments) (*process, hashring.Member, error) {
	if len(a.names()) != 1 {
		return nil, hashring.Member{}, errors.New("want one node")
	}
	p, err := s.node(a.names()[0])
	if err != nil {
		return nil, hashring.Member{}, err
	}
	member, in := s.member(p)
	if !in {
		return nil, member, fmt.Errorf("%s is not in the map", p.name)
	}
	return p, member, nil
}

// without waits for a map that leaves a node out, and until those that are in it have it.
func (s *scenario) without(p *process) error {
	return s.wait("a map without "+p.name, func() bool {
		_, in := s.member(p)
		return !in && s.epoch() > 0 && s.spread(s.epoch())
	})
}

func (s *scenario) unmerged(m hashring.Member) int {
	for _, r := range s.dpm.dpm.Pool().Ranks() {
		if r.Rank == fabric.Rank(m.Rank) {
			return r.Unmerged
		}
	}
	return 0
}

// ownersOf lists the owners of the file's keys by the map in force.
func (s *scenario) ownersOf() string {
	text := ""
	m := s.currentMap()
	for _, alias := range slices.Sorted(maps.Keys(s.keys)) {
		key := []byte(s.keys[alias])
		var names []string
		for _, owner := range m.OwnersOfHashed(key, hashring.KeyHash(key), nil) {
			member, _ := m.Member(owner.Rank)
			names = append(names, s.nameOf(member.PrivateIP))
		}
		text += fmt.Sprintf(" owner(%s)=%s", alias, strings.Join(slices.Compact(names), ","))
	}
	if text == "" {
		return ""
	}
	return ";" + text
}

// nameOf names a node, or a client, by its IP.
func (s *scenario) nameOf(ip string) string {
	for _, p := range s.all() {
		if p.ip == ip {
			return p.name
		}
	}
	for _, c := range s.clients {
		if c.ip == ip {
			return fmt.Sprint("client", c.number)
		}
	}
	return ip
}

func (s *scenario) joinNode(a *arguments) (string, error) {
	return s.changeMembers(a, (*process).start, func(p *process) bool {
		member, in := s.member(p)
		if !in || p.kn == nil {
			return false
		}
		_, incarnation := p.kn.Rank()
		return member.Incarnation == incarnation && s.spread(s.epoch())
	})
}

func (s *scenario) leaveNode(a *arguments) (string, error) {
	return s.changeMembers(a, (*process).leave, func(p *process) bool { return p.node == nil })
}

// changeMembers does something to each node that is named, one by one, and, unless told otherwise, waits until it is done.
func (s *scenario) changeMembers(a *arguments, do func(*process), done func(*process) bool) (string, error) {
	for _, name := range a.names() {
		p, err := s.node(name)
		if err != nil {
			return "", err
		}
		do(p)
		if a.HasArg("nowait") {
			continue
		}
		if err := s.wait(a.Cmd+" of "+name, func() bool { return done(p) }); err != nil {
			return "", err
		}
	}
	if a.HasArg("nowait") {
		return "", nil
	}
	return fmt.Sprintf("epoch %d%s", s.epoch(), s.ownersOf()), nil
}

func (s *scenario) replication(a *arguments) (string, error) {
	global, local := 1, 1
	if a.Cmd == "replicate" {
		global, local = a.number("global", 2), a.number("local", 1)
	}
	want := hashring.Replication{Global: global, Local: local}
	for _, alias := range a.names() {
		key, err := s.key(alias, "")
		if err != nil {
			return "", err
		}
		s.changeReplication(key, global, local)
		if a.HasArg("nowait") {
			return "", nil
		}
		err = s.wait("the replication", func() bool {
			m := s.currentMap()
			return m != nil && m.Replication([]byte(key)) == want && s.spread(m.Epoch())
		})
		if err != nil {
			return "", err
		}
	}
	s.run(20 * time.Millisecond) // pointers that nobody needs any more are removed
	return fmt.Sprintf("epoch %d%s", s.epoch(), s.ownersOf()), nil
}

// key returns what a key of the file is called. One that is named first is chosen such that a certain KN owns it.
func (s *scenario) key(alias, kn string) (string, error) {
	if key, ok := s.keys[alias]; ok {
		return key, nil
	}
	key := alias
	if kn != "" {
		p, err := s.node("kn" + kn)
		if err != nil {
			return "", err
		}
		member, in := s.member(p)
		if !in {
			return "", fmt.Errorf("%s is not in the map", p.name)
		}
		m := s.currentMap()
		for i := 0; ; i++ {
			key = fmt.Sprintf("%s.%d", alias, i)
			if owner, ok := m.PrimaryOwner(hashring.KeyHash([]byte(key))); ok && owner.Rank == member.Rank {
				break
			}
		}
	}
	s.keys[alias] = key
	s.watch.keys = append(s.watch.keys, []byte(key))
	return key, nil
}

// operate begins clients' operations and, unless told otherwise, waits for them.
func (s *scenario) operate(a *arguments) (string, error) {
	for len(s.clients) < a.number("client", 1) {
		s.newClient().ending = true
	}
	c := s.clients[a.number("client", 1)-1]
	var acked, others []string
	open, nowait, verb := 0, a.HasArg("nowait"), a.Cmd // a is the next command's before an operation ends that nobody waits for
	for _, arg := range a.CmdArgs {
		if arg.Key == "client" || arg.Key == "kn" || arg.Key == "nowait" {
			continue
		}
		key, err := s.key(arg.Key, a.text("kn"))
		if err != nil {
			return "", err
		}
		open++
		c.do(history.Kind(a.Cmd), key, strings.Join(arg.Vals, ","), func(o history.Operation) {
			open--
			text := s.outcome(arg.Key, o)
			switch {
			case nowait:
				s.outcomes = append(s.outcomes, verb+" "+text)
			case o.Kind != history.Get && o.Outcome == history.OK:
				acked = append(acked, arg.Key)
			default:
				others = append(others, text)
			}
		})
	}
	over := func() bool { return open == 0 }
	if nowait {
		s.pending = append(s.pending, over)
		return "", nil
	}
	if err := s.wait("the operations' end", over); err != nil {
		return "", err
	}
	slices.Sort(acked)
	slices.Sort(others)
	if len(acked) > 0 {
		others = append([]string{"acked " + strings.Join(acked, " ")}, others...)
	}
	return strings.Join(others, " "), nil
}

// outcome says how an operation ended.
func (s *scenario) outcome(alias string, o history.Operation) string {
	switch {
	case o.Outcome != history.OK:
		return fmt.Sprintf("%s:%s", alias, o.Outcome)
	case o.Kind != history.Get:
		return alias + ":acked"
	case o.Missing:
		return alias + "=none"
	}
	return alias + "=" + o.Value
}

func (s *scenario) await(*arguments) (string, error) {
	err := s.wait("the operations' end", func() bool {
		return !slices.ContainsFunc(s.pending, func(over func() bool) bool { return !over() })
	})
	slices.Sort(s.outcomes)
	text := strings.Join(s.outcomes, "\n")
	s.pending, s.outcomes = nil, nil
	return text, err
}

func (s *scenario) partition(a *arguments) (string, error) {
	var ips []string
	for _, name := range a.names() {
		if number, ok := strings.CutPrefix(name, "client"); ok {
			n, _ := strconv.Atoi(number)
			ips = append(ips, clientIP(n-1))
			continue
		}
		p, err := s.node(name)
		if err != nil {
			return "", err
		}
		ips = append(ips, p.ip)
	}
	if len(ips) != 2 {
		return "", errors.New("want two nodes")
	}
	s.net.Cut(ips[0], ips[1])
	if !a.HasArg("oneway") {
		s.net.Cut(ips[1], ips[0])
	}
	if slices.Contains(ips, dpmIP) {
		for _, ip := range ips {
			s.fabric.Cut(ip, true)
		}
	}
	return "", nil
}

func (s *scenario) mend(*arguments) (string, error) {
	s.net.Heal()
	for _, p := range s.kns {
		s.fabric.Cut(p.ip, false)
	}
	return "", nil
}

func (s *scenario) tick(a *arguments) (string, error) {
	s.run(time.Duration(a.number("ms", 100)) * time.Millisecond)
	return "", nil
}

func (s *scenario) state(*arguments) (string, error) {
	m := s.currentMap()
	if m == nil {
		return "no map", nil
	}
	var names, serving []string
	for _, member := range m.Members() {
		names = append(names, s.nameOf(member.PrivateIP))
	}
	for _, alias := range slices.Sorted(maps.Keys(s.keys)) {
		who := strings.Join(s.watch.owners(s.keys[alias]), ",")
		if who == "" {
			who = "nobody"
		}
		serving = append(serving, fmt.Sprintf("\n%s is served by %s", alias, who))
	}
	return fmt.Sprintf("epoch %d; members %s%s", m.Epoch(), strings.Join(names, " "), strings.Join(serving, "")), nil
}

func (s *scenario) tellEvents(*arguments) (string, error) {
	text := strings.Join(s.events, "\n")
	s.events = nil
	return text, nil
}

func (s *scenario) history(*arguments) (string, error) {
	alias := map[string]string{}
	for name, key := range s.keys {
		alias[key] = name
	}
	var text strings.Builder
	ops := slices.Clone(s.ops) // operations that begin together end in no order that a story should depend on
	slices.SortStableFunc(ops, func(a, b history.Operation) int {
		return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Key, b.Key))
	})
	for _, o := range ops {
		fmt.Fprintf(&text, "client%d %s %s\n", o.Client, o.Kind, s.outcome(alias[o.Key], o))
	}
	fmt.Fprintf(&text, "%s", history.Check(s.ops, time.Minute, nil).Verdict)
	return text.String(), nil
}

func (s *scenario) deliver(a *arguments) (string, error) {
	for _, action := range []string{"drop", "hold", "repeat"} {
		if kind := a.text(action); kind != "" {
			s.rules = append(s.rules, &rule{action, kind, a.text("from"), a.text("to"), a.number("times", -1)})
			return "", nil
		}
	}
	return "", errors.New("want drop, hold or repeat")
}

// pass is the watcher's hook.
func (s *scenario) pass(from, to string, body messages.Message, frame []byte) bool {
	if s.copies[to+string(frame)] > 0 {
		s.copies[to+string(frame)]--
		return true
	}
	if body == nil {
		return true
	}
	kind := string(body.ProtoReflect().Descriptor().Name())
	for _, r := range s.rules {
		if r.left == 0 || r.kind != kind || r.from != "" && r.from != s.nameOf(from) || r.to != "" && r.to != s.nameOf(hostOf(to)) {
			continue
		}
		r.left--
		switch r.action {
		case "drop":
			return false
		case "hold":
			s.held = append(s.held, heldFrame{from, to, slices.Clone(frame)})
			return false
		case "repeat":
			for i := range 2 {
				copied := heldFrame{from, to, slices.Clone(frame)}
				s.net.After(time.Duration(i+1)*30*time.Millisecond, func() { s.again(copied) })
			}
		}
	}
	return true
}

// again delivers a message once more.
func (s *scenario) again(h heldFrame) {
	s.copies[h.to+string(h.frame)]++
	_ = s.net.Node(h.from).Send(h.to, h.frame)
}

func (s *scenario) release(a *arguments) (string, error) {
	s.rules = nil
	held := s.held
	s.held = nil
	if a.text("order") == "reverse" {
		slices.Reverse(held)
	}
	for _, h := range held {
		s.again(h)
		s.run(time.Millisecond) // one by one, in this order
	}
	return fmt.Sprintf("released %d", len(held)), nil
}

// hostOf returns the IP of an address.
func hostOf(address string) string {
	a, err := messages.ParseAddress(address)
	if err != nil {
		return address
	}
	return a.IP.String()
}
