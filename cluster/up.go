package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/cluster/manager/local"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// UpOptions says which cluster to start.
type UpOptions struct {
	Topology
	// Binary is the program of the nodes. Default: this one.
	Binary string
	// ReadyTimeout bounds the wait for the cluster to be ready. Default 60 s, and a second for every 256 MiB of the pool.
	ReadyTimeout time.Duration
	// MaxRestarts is how often one of the nodes that Up starts may end by itself within a minute and be started again. Default: the
	// provisioner's.
	MaxRestarts int
	// Logf receives a line for each node that starts or ends. Nil: silent.
	Logf func(format string, args ...any)
	// Waits is told what a cluster waits for that is not ready soon, and again when that changes. Default: a line for Logf.
	Waits func(what string)
}

// Cluster is a running local cluster. Make it with Up and Close it.
type Cluster struct {
	o           UpOptions
	conf        *conf.Loaded
	plan        messages.Plan
	provisioner *local.Provisioner
	lifeline    *local.Lifeline // of all processes: those that the management node starts are nobody's children when it is gone
	asker       *Asker

	mu struct {
		sync.Mutex
		ready  bool
		failed error // a node that ended before the cluster was ready
		pids   map[string]int
	}
}

// Up starts a cluster of processes and returns when it serves keys. Its configuration is what the nodes would load by
// themselves. When it fails, or ctx ends, nothing is left running.
func Up(ctx context.Context, o UpOptions) (*Cluster, error) {
	o.Topology.EnsureDefaults()
	if err := o.Topology.Validate(); err != nil {
		return nil, err
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Waits == nil {
		o.Waits = func(what string) { o.Logf("waits: %s", what) }
	}
	c := &Cluster{o: o}
	c.mu.pids = make(map[string]int)
	if err := c.prepare(); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// prepare loads the configuration and settles what all nodes have to agree on.
func (c *Cluster) prepare() error {
	o := &c.o
	invocation, err := o.Invocation.absolute()
	if err != nil {
		return err
	}
	o.Invocation = invocation
	l, err := conf.Load(conf.Sources{Files: o.Files, Set: o.Set})
	if err != nil {
		return err
	}
	directory, err := filepath.Abs(l.Dinomo.DataDirectory)
	if err != nil {
		return err
	}
	o.Set = append(append([]string{}, o.Set...), "dinomo.data-dir="+directory,
		fmt.Sprintf("ib_config.num_initial_memory_nodes=%d", o.KNs), fmt.Sprintf("bench_config.num-benchmark-nodes=%d", max(o.Benches, 1)))
	if l.Dinomo.Pool.Path != "" {
		path, err := filepath.Abs(l.Dinomo.Pool.Path)
		if err != nil {
			return err
		}
		o.Set = append(o.Set, "dinomo.pool.path="+path)
	}
	environment := map[string]string{}
	for _, assignment := range o.Addresses().Environment(o.Network.Tool(0)) {
		name, value, _ := strings.Cut(assignment, "=")
		environment[name] = value
	}
	c.conf, err = conf.Load(conf.Sources{Files: o.Files, Set: o.Set, Environment: func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}})
	if err != nil {
		return err
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = readyTimeout(&c.conf.Config)
	}
	if c.plan, err = Plan(&c.conf.Config); err != nil {
		return err
	}
	return os.MkdirAll(LogDirectory(&c.conf.Config), 0o755)
}

func (c *Cluster) start(ctx context.Context) error {
	processes, err := localOptions(&c.conf.Config)
	if err != nil {
		return err
	}
	if c.o.Binary != "" {
		processes.Binary = c.o.Binary
	}
	if c.o.MaxRestarts != 0 {
		processes.MaxRestarts = c.o.MaxRestarts
	}
	// A management node ends its own nodes first, each with the same time.
	processes.StopTimeout += 2 * time.Second
	if c.lifeline, err = local.NewLifeline(); err != nil {
		return err
	}
	processes.Command, processes.Events, processes.Lifeline = c.o.Command, c.event, c.lifeline
	if c.provisioner, err = local.New(processes); err != nil {
		return err
	}
	// A port of the plan rather than a free one: who has it has the network.
	if c.asker, err = newAsker(c.o.Network.Tool(0), c.plan.Base(messages.MonitorControl), nil); err != nil {
		return fmt.Errorf("%w (another cluster runs on %s; stop it or give another network)", err, c.o.Network)
	}
	if err := c.awaitNoneBefore(ctx); err != nil {
		return err
	}
	for _, n := range c.o.Nodes() {
		if err := c.provisioner.Start(n); err != nil {
			return err
		}
	}
	return c.awaitReady(ctx)
}

// endOfOthers is how long nodes of a cluster whose starter was killed have for noticing it.
const endOfOthers = 3 * time.Second

// awaitNoneBefore waits until no node runs any more that the management node of a cluster before has started, and removes their
// list: this cluster begins as it was asked to.
func (c *Cluster) awaitNoneBefore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endOfOthers)
	defer cancel()
	journal := nodesJournal(&c.conf.Config, c.o.Network.Manage())
	for {
		left, err := local.Left(journal)
		switch {
		case err != nil:
			return err
		case len(left) == 0:
			return local.EndLeft(journal)
		case ctx.Err() != nil:
			return fmt.Errorf("nodes of another cluster still run with the data directory %s: processes %v; end them, or take them over with dinomo manage",
				c.conf.Dinomo.DataDirectory, left)
		}
		clock.Real{}.Sleep(pollReady)
	}
}

// event takes the provisioner's word on a node. Before the cluster is ready a node that ends by itself is why it will not be.
func (c *Cluster) event(e manager.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.State == manager.Running:
		c.mu.pids[e.IP] = e.PID
	case e.Gone:
		delete(c.mu.pids, e.IP)
		if !c.mu.ready && c.mu.failed == nil && e.State != manager.Stopped {
			c.mu.failed = fmt.Errorf("%s at %s does not start: %s", e.Kind, e.IP, strings.TrimSuffix(e.Detail, "; it is started again"))
		}
	}
	if e.State != manager.Stopping {
		c.o.Logf("%s %s is %s%s", e.Kind, e.IP, e.State, detailOf(e))
	}
}

func detailOf(e manager.Event) string {
	switch {
	case e.State == manager.Running:
		return fmt.Sprintf(", process %d", e.PID)
	case e.Detail != "":
		return ": " + e.Detail
	}
	return ""
}

const (
	// pollReady is how often a node is asked whether it is ready.
	pollReady = 20 * time.Millisecond
	// longWait is when somebody is told what a cluster waits for: small pools are open long before.
	longWait = 3 * time.Second
	// slowestOpen is how many bytes of a pool are opened in a second, at least: its index and what is not merged are read, and with
	// ibverbs a card pins all of it, in one call that shows no progress.
	slowestOpen = 256 << 20
)

// readyTimeout is what a cluster may take until it is ready.
func readyTimeout(c *conf.Config) time.Duration {
	bytes := uint64(c.PoolBytes())
	if file, err := os.Stat(c.PoolPath()); err == nil { // one that is there already has the size that it has
		bytes = max(bytes, uint64(file.Size()))
	}
	return time.Minute + time.Duration(bytes/slowestOpen)*time.Second
}

// awaitReady asks until every routing node knows all KNs and every benchmark node answers (CLU-2).
func (c *Cluster) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.ReadyTimeout)
	defer cancel()
	missing, told, begun := "no node has answered yet", "", clock.Real{}.Now()
	for {
		if now := c.missing(ctx); now == "" || ctx.Err() == nil { // else nobody had the time to answer
			missing = now
		}
		c.mu.Lock()
		failed := c.mu.failed
		c.mu.ready = missing == "" && failed == nil
		c.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case missing == "":
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("the cluster is not ready: %s; %s; logs are in %s", missing, c.trouble(), LogDirectory(&c.conf.Config))
		case clock.Real{}.Now().Sub(begun) > longWait:
			if what := missing + "; " + c.trouble(); what != told {
				c.o.Waits(what)
				told = what
			}
		}
		clock.Real{}.Sleep(pollReady)
	}
}

// missing says what is not ready yet; "" when all is.
func (c *Cluster) missing(ctx context.Context) string {
	for _, ip := range c.o.RouteIPs() {
		if n := c.membersAt(ctx, ip); n < c.o.KNs {
			return fmt.Sprintf("routing node %s knows %d of %d KNs", ip, n, c.o.KNs)
		}
	}
	for _, ip := range c.o.BenchIPs() {
		if _, err := c.status(ctx, ip, messages.BenchControl); err != nil {
			return fmt.Sprintf("benchmark node %s does not answer", ip)
		}
	}
	return ""
}

// membersAt asks a routing node how many KNs its map has; 0 when it does not answer.
func (c *Cluster) membersAt(ctx context.Context, ip string) int {
	report, err := c.status(ctx, ip, messages.RouteControl)
	if err != nil || report.GetFacts()["process"] != strconv.Itoa(c.Process(ip)) {
		return 0 // or somebody else's node has the address, and ours will say so
	}
	return int(report.GetGauges()["members"])
}

// Members asks the first routing node how many KNs its map has; 0 when it does not answer.
func (c *Cluster) Members(ctx context.Context) int { return c.membersAt(ctx, c.o.Network.Route(0)) }

// askPatience is how long one question for a status waits before other signs are looked at.
const askPatience = 300 * time.Millisecond

func (c *Cluster) status(ctx context.Context, ip string, s messages.Socket) (*messages.StatusReport, error) {
	a, err := c.plan.Address(ip, s, 0)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return c.asker.Status(ctx, a.String(), "")
}

// trouble says why KNs may not serve: the DPM does not yet, or what the management node knows of those that do not run.
func (c *Cluster) trouble() string {
	dpm := c.conf.DPMAddress()
	if _, err := c.status(context.Background(), dpm, messages.DPMControl); err != nil {
		return fmt.Sprintf("the DPM at %s does not serve yet: a large pool takes its time to be opened, and with ibverbs to be pinned", dpm)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	report, err := c.ManagerStatus(ctx)
	if err != nil {
		return "the management node does not answer"
	}
	var trouble []string
	for _, n := range report.GetNodes() {
		if n.GetState() != string(manager.Running) || n.GetRestarts() > 0 {
			trouble = append(trouble, fmt.Sprintf("%s %s is %s after %d restarts: %s", n.GetKind(), n.GetPrivateIp(), n.GetState(), n.GetRestarts(), n.GetDetail()))
		}
	}
	if len(trouble) == 0 {
		return "all KN processes run"
	}
	return strings.Join(trouble, "; ")
}

// ManagerStatus asks the management node for its list of nodes.
func (c *Cluster) ManagerStatus(ctx context.Context) (*messages.StatusReport, error) {
	return askManager(ctx, c.plan, c.o.Network.Manage(), &messages.StatusQuery{})
}

// KillNodes has the management node kill the named nodes, as a failure would.
func (c *Cluster) KillNodes(ctx context.Context, ips ...string) (*messages.StatusReport, error) {
	return askManager(ctx, c.plan, c.o.Network.Manage(), &messages.NodeKill{PrivateIps: ips})
}

// askManager puts a question to a management node.
func askManager(ctx context.Context, plan messages.Plan, ip string, question messages.Message) (*messages.StatusReport, error) {
	to, err := plan.Address(ip, messages.ManageControl, 0)
	if err != nil {
		return nil, err
	}
	frame, err := messages.ControlFrame("", question)
	if err != nil {
		return nil, err
	}
	reply, err := runtime.Request(ctx, to.String(), frame, runtime.ReqOptions{})
	if err != nil {
		return nil, err
	}
	body, err := messages.ParseControlFrame(reply)
	if err != nil {
		return nil, fmt.Errorf("answer of the management node: %w", err)
	}
	report, ok := body.(*messages.StatusReport)
	if !ok {
		return nil, fmt.Errorf("the management node answered with %T", body)
	}
	if report.GetError() != "" {
		return nil, fmt.Errorf("the management node: %s", report.GetError())
	}
	return report, nil
}

// Conf returns the configuration that the nodes have in common.
func (c *Cluster) Conf() *conf.Loaded { return c.conf }

// Topology returns what was started.
func (c *Cluster) Topology() *Topology { return &c.o.Topology }

// Plan returns the port numbers.
func (c *Cluster) Plan() messages.Plan { return c.plan }

// Process returns the process of one of the nodes that Up itself started, 0 when it does not run.
func (c *Cluster) Process(ip string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.pids[ip]
}

// Close ends all nodes, users first and the pool last, and returns when nothing is left.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.mu.ready = true // what ends from here on is meant to
	c.mu.Unlock()
	var err error
	if c.provisioner != nil {
		// Users first; then who would take the end of KNs for failures; the pool last.
		for _, kind := range []messages.NodeKind{
			messages.KindBenchmark, messages.KindMonitor, local.KindManagement, messages.KindRouting, messages.KindDPM,
		} {
			c.stopAll(kind)
			if kind == local.KindManagement {
				err = local.EndLeft(nodesJournal(&c.conf.Config, c.o.Network.Manage())) // of one that was not there to end them
			}
		}
		err = errors.Join(err, c.provisioner.Close())
		c.lifeline.Cut()
	}
	if c.asker != nil {
		err = errors.Join(err, c.asker.Close())
	}
	return err
}

// stopAll ends the nodes of a kind, together.
func (c *Cluster) stopAll(kind messages.NodeKind) {
	var ips []string
	for _, n := range c.o.Nodes() {
		if n.Kind == kind {
			_ = c.provisioner.Stop(n.IP) // ErrNoNode: it is over already
			ips = append(ips, n.IP)
		}
	}
	for _, ip := range ips {
		c.provisioner.Wait(ip)
	}
}

// Guide says how to talk to the cluster with the program, named as it was called.
func (c *Cluster) Guide(program string) string {
	n := c.o.Network
	var flags, benches string
	if n.String() != DefaultNetwork {
		flags += " --network " + n.String()
	}
	if c.conf.Dinomo.Ports != conf.PortsDinomo {
		flags += " --set dinomo.ports=" + c.conf.Dinomo.Ports
	}
	if c.o.Benches != 1 {
		benches = " --set trigger.benchmark=" + strings.Join(c.o.BenchIPs(), ",")
	}
	return fmt.Sprintf(`%d KNs (%s to %s), pool at %s, routing node %s, M-node %s, management %s
data and logs: %[11]s

  %[8]s cli%[9]s        read and write keys
  %[8]s trigger%[10]s    send benchmark commands
  %[8]s inspect%[9]s    look at the cluster
`, c.o.KNs, n.KN(0), n.KN(c.o.KNs-1), n.DPM(), n.Route(0), n.Monitor(0), n.Manage(), program, flags, flags+benches, c.conf.Dinomo.DataDirectory)
}
