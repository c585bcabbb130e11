package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

var (
	// ErrSilent: a benchmark node or thread says nothing.
	ErrSilent = errors.New("benchmark node is silent")
	// ErrNoManagement: ADD, REMOVE or FAIL without a management node that answers.
	ErrNoManagement = errors.New("no management node")
)

// Options configures a Trigger. Benchmarks is required; the zero value of every other field means its default.
type Options struct {
	// Benchmarks are the IPs of the benchmark nodes, Threads how many threads each has. Threads 0: ask them.
	Benchmarks []string
	Threads    int
	// Management are the IPs of the management nodes; the first is asked.
	Management []string
	// IP is the trigger's own, where reports come to (default 127.0.0.1).
	IP   string
	Plan messages.Plan
	// NoWait sends without waiting for reports.
	NoWait bool
	// Silence is how long a thread may say nothing while a command lasts (default 30 s, or three report periods if that is
	// longer), and a node when it is asked something (a third of that).
	Silence time.Duration
	// Progress hears how far the threads are; their numbers count through all nodes.
	Progress func(bench.Progress)
	Clock    clock.Clock
	Logf     func(string, ...any)
}

// EnsureDefaults fills the fields that are zero.
func (o *Options) EnsureDefaults() {
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	if o.Silence == 0 {
		o.Silence = 30 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(bench.Progress) {}
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	if len(o.Benchmarks) == 0 {
		return fmt.Errorf("trigger options: no benchmark nodes; give the IP of at least one")
	}
	for _, ip := range slices.Concat(o.Benchmarks, o.Management, []string{o.IP}) {
		if _, err := messages.ParseIP(ip); err != nil {
			return fmt.Errorf("trigger options: %w", err)
		}
	}
	if o.Threads < 0 || o.Threads > o.Plan.MaxThreads() || o.Silence < 0 {
		return fmt.Errorf("trigger options: %d threads, silence %v; want 0 to %d, and a positive time", o.Threads, o.Silence, o.Plan.MaxThreads())
	}
	return nil
}

// Trigger sends commands. It is for one goroutine.
type Trigger struct {
	options Options
	reports *runtime.Pull
	peers   *runtime.Peers
	nodes   []string       // IPs of the benchmark nodes; ADD and REMOVE change them
	threads map[string]int // of each, once known
}

// New binds the socket that reports come to. Close it.
func New(o Options) (*Trigger, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	t := &Trigger{options: o, nodes: slices.Clone(o.Benchmarks), threads: make(map[string]int)}
	var err error
	if t.reports, err = runtime.ListenPull("tcp://"+o.IP+":0", runtime.PullOptions{MaxFrameBytes: 4 << 20}); err != nil {
		return nil, fmt.Errorf("trigger: %w", err)
	}
	// A benchmark node may still be starting: what is queued for it waits.
	t.peers = runtime.NewPeers(runtime.PeersOptions{UnreachableAfter: 10 * time.Minute})
	return t, nil
}

// Close frees the sockets, after what was sent has gone out.
func (t *Trigger) Close() {
	t.peers.Close(2 * time.Second)
	t.reports.Close()
}

// Nodes returns the IPs of the benchmark nodes as known now.
func (t *Trigger) Nodes() []string { return slices.Clone(t.nodes) }

// send pushes a frame to an address.
func (t *Trigger) send(ip string, s messages.Socket, thread int, frame []byte) error {
	a, err := t.options.Plan.Address(ip, s, thread)
	if err != nil {
		return err
	}
	push, err := t.peers.Get(a.String())
	if err != nil {
		return err
	}
	return push.Send(frame)
}

// Send sends a command to every thread of every benchmark node, or to the management node if it is for that, without waiting
// for its end.
func (t *Trigger) Send(ctx context.Context, c command.Command) error {
	switch c := c.(type) {
	case command.Add:
		return t.churn(messages.Churn{Action: messages.ChurnAdd, Count: c.Count, Kind: messages.KindBenchmark})
	case command.Remove:
		return t.sendRemove(ctx, c.Count)
	case command.Fail:
		return t.churn(messages.Churn{Action: messages.ChurnFail, Count: c.Count, Kind: messages.KindMemory})
	}
	if err := t.learnThreads(ctx); err != nil {
		return err
	}
	for _, ip := range t.nodes {
		for thread := range t.threads[ip] {
			if err := t.send(ip, messages.BenchCommand, thread, []byte(c.String())); err != nil {
				return fmt.Errorf("send to thread %d of %s: %w", thread, ip, err)
			}
		}
	}
	return nil
}

// RunCommand sends a command and waits for its end, as bench.Runner wants it. With NoWait, and for a command to the management
// node, the result is empty.
func (t *Trigger) RunCommand(ctx context.Context, c command.Command) (*bench.Result, error) {
	empty := bench.Merge()
	empty.Command = c.String()
	switch c := c.(type) {
	case command.Add:
		return empty, t.changeNodes(ctx, c, c.Count)
	case command.Remove:
		return empty, t.changeNodes(ctx, c, -c.Count)
	case command.Fail:
		return empty, t.fail(ctx, c)
	}
	if t.options.NoWait {
		return empty, t.Send(ctx, c)
	}
	clear(t.threads) // nodes may have started again since
	t.forgetReports()
	if err := t.Send(ctx, c); err != nil {
		return empty, err
	}
	return t.collect(ctx, c)
}

// forgetReports drops what has arrived about earlier commands.
func (t *Trigger) forgetReports() {
	for {
		select {
		case b := <-t.reports.Batches():
			b.Release()
		default:
			return
		}
	}
}

// collection gathers the reports of one command.
type collection struct {
	command string
	waiting map[string]int       // uid -> number of the thread, counting through all nodes
	heard   map[string]time.Time // of those
	results []*bench.Result
	refused error
}

// collect waits for every thread's report.
func (t *Trigger) collect(ctx context.Context, c command.Command) (*bench.Result, error) {
	now := t.options.Clock.Now()
	all := &collection{command: c.String(), waiting: map[string]int{}, heard: map[string]time.Time{}}
	for _, ip := range t.nodes {
		for thread := range t.threads[ip] {
			uid := ip + ":" + strconv.Itoa(thread)
			all.waiting[uid], all.heard[uid] = len(all.waiting), now
		}
	}
	patience := max(t.options.Silence, 3*reportPeriod(c))
	for len(all.waiting) > 0 {
		tick := t.options.Clock.NewTimer(min(patience/4, time.Second))
		select {
		case <-ctx.Done():
			tick.Stop()
			return bench.Merge(all.results...), ctx.Err()
		case b := <-t.reports.Batches():
			tick.Stop()
			for _, frame := range b.Frames {
				t.take(all, frame)
			}
			b.Release()
		case now := <-tick.C:
			if silent := all.silent(now.Add(-patience)); len(silent) > 0 {
				return bench.Merge(all.results...), fmt.Errorf("%w for %v: thread %s", ErrSilent, patience, strings.Join(silent, ", "))
			}
		}
	}
	return bench.Merge(all.results...), all.refused
}

// take enters one frame; what is no report of a thread that is waited for is ignored.
func (t *Trigger) take(all *collection, frame []byte) {
	var e messages.ControlEnvelope
	if err := messages.Unmarshal(frame, &e); err != nil {
		t.options.Logf("report: %v", err)
		return
	}
	r := e.GetBenchReport()
	thread, waited := all.waiting[r.GetUid()]
	if !waited {
		return
	}
	all.heard[r.Uid] = t.options.Clock.Now()
	if r.Phase != all.command {
		return // somebody else's command, before ours
	}
	p := bench.Progress{Thread: thread, Command: r.Phase, Operations: r.Operations, Elapsed: time.Duration(r.Seconds * float64(time.Second)), Finished: r.Finish}
	p.Total, p.Duration = sizeOf(all.command, len(all.heard))
	t.options.Progress(p)
	if !r.Finish {
		return
	}
	delete(all.waiting, r.Uid)
	if r.Refusal != "" {
		all.refused = fmt.Errorf("%w by thread %s: %s", bench.ErrRefused, r.Uid, r.Refusal)
	}
	result, err := bench.ResultOf(r)
	if err != nil {
		t.options.Logf("report: %v", err)
		return
	}
	all.results = append(all.results, result)
}

// silent lists the threads that were not heard since.
func (c *collection) silent(since time.Time) (out []string) {
	for uid := range c.waiting {
		if c.heard[uid].Before(since) {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out
}

// reportPeriod returns how often a command's threads say something.
func reportPeriod(c command.Command) time.Duration {
	switch c := c.(type) {
	case command.Run:
		return c.ReportPeriod
	case command.WarmRun:
		return c.ReportPeriod
	case command.AnnaLoad:
		return c.ReportPeriod
	case command.YCSB:
		return c.ReportPeriod
	}
	return 0
}

// sizeOf returns what a thread has to do: so many operations, or for so long.
func sizeOf(line string, threads int) (uint64, time.Duration) {
	c, err := command.Parse(line)
	if err != nil {
		return 0, 0
	}
	switch c := c.(type) {
	case command.Load:
		return c.Keys / uint64(max(threads, 1)), 0
	case command.Warm:
		return c.Requests, 0
	case command.AnnaWarm:
		return c.Keys / uint64(c.Threads), 0
	case command.AnnaCache:
		return c.Keys, 0
	case command.Run:
		return 0, c.Duration
	case command.WarmRun:
		return 0, c.Duration
	case command.AnnaLoad:
		return 0, c.Duration
	case command.YCSB:
		return 0, c.Duration
	}
	return 0, 0
}
