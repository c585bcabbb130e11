package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// statisticsTimeout bounds the questions for all KNs' statistics.
const statisticsTimeout = 15 * time.Second

// Errors of a run.
var (
	// ErrRefused: a benchmark node refused a command.
	ErrRefused = errors.New("benchmark node refused the command")
	// ErrNothing: a phase did nothing at all.
	ErrNothing = errors.New("no operation succeeded")
)

// Run loads the data set, warms the caches, runs the mixes and reports. It ends early when ctx does.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &runner{o: &o}
	r.mu.changed = make(chan struct{})
	asker, err := cluster.NewAsker(o.IP, r.unasked)
	if err != nil {
		return nil, err
	}
	defer asker.Close()
	r.asker = asker
	if err := r.subscribe(ctx); err != nil {
		return nil, err
	}
	report := &Report{Configuration: o.Configuration, Commit: o.Commit, Machine: ThisMachine()}
	for _, p := range r.plan() {
		phase, err := r.phase(ctx, p.name, p.line)
		if err != nil {
			return report, fmt.Errorf("%s: %w", p.name, err)
		}
		if p.reported {
			report.Phases = append(report.Phases, *phase)
		}
	}
	return report, nil
}

// runner drives the benchmark nodes.
type runner struct {
	o     *Options
	asker *cluster.Asker

	mu struct {
		sync.Mutex
		line     string                           // the phase that reports are wanted of
		finished map[string]*messages.BenchReport // by uid
		done     map[string]uint64                // operations so far, by uid
		seconds  map[string]float64
		refusal  string
		changed  chan struct{} // closed and replaced at each change
	}
}

// step is one command and whether its figures are reported.
type step struct {
	name, line string
	reported   bool
}

// plan lists the commands of the run.
func (r *runner) plan() []step {
	o := r.o
	steps := []step{{"load", join("LOAD", o.Keys, o.ValueBytes, o.BenchThreads, len(o.Benches)), true}}
	if o.Warm > 0 {
		steps = append(steps, step{"warm", join("WARM", o.Keys, o.ValueBytes, o.Warm, o.Zipf), false})
	}
	for _, m := range o.Mixes {
		line := join("RUN", m.ReadRatio, o.Keys, o.ValueBytes, 1, o.Seconds, o.Zipf, o.outstanding())
		if m.Inserts {
			line += ":0"
		}
		steps = append(steps, step{m.Name, line, true})
	}
	return steps
}

// join makes a command line.
func join(word string, fields ...any) string {
	parts := []string{word}
	for _, f := range fields {
		if x, ok := f.(float64); ok {
			parts = append(parts, strconv.FormatFloat(x, 'f', -1, 64))
			continue
		}
		parts = append(parts, fmt.Sprint(f))
	}
	return strings.Join(parts, ":")
}

// subscribe asks every benchmark node for its reports.
func (r *runner) subscribe(ctx context.Context) error {
	for _, ip := range r.o.Benches {
		a, err := r.o.Plan.Address(ip, messages.BenchControl, 0)
		if err != nil {
			return err
		}
		if _, err := r.asker.Status(ctx, a.String(), "reports"); err != nil {
			return fmt.Errorf("benchmark node %s: %w", ip, err)
		}
	}
	return nil
}

// unasked takes what benchmark threads say by themselves.
func (r *runner) unasked(m messages.Message) {
	b, ok := m.(*messages.BenchReport)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.GetPhase() != r.mu.line {
		return
	}
	r.mu.done[b.GetUid()], r.mu.seconds[b.GetUid()] = b.GetOperations(), b.GetSeconds()
	if b.GetRefusal() != "" {
		r.mu.refusal = cmp.Or(r.mu.refusal, b.GetUid()+": "+b.GetRefusal())
	}
	if b.GetFinish() {
		r.mu.finished[b.GetUid()] = b
	}
	close(r.mu.changed)
	r.mu.changed = make(chan struct{})
}

// phase has all benchmark threads carry out a command, and says what they and the KNs did.
func (r *runner) phase(ctx context.Context, name, line string) (*Phase, error) {
	before, err := r.statistics(ctx)
	if err != nil {
		return nil, err
	}
	results, err := r.command(ctx, name, line)
	if err != nil {
		return nil, err
	}
	after, err := r.statistics(ctx)
	if err != nil {
		return nil, err
	}
	p := &Phase{Name: name, Command: line}
	for _, b := range results {
		p.Seconds = max(p.Seconds, b.GetSeconds())
	}
	all := r.nodes(p, before, after)
	p.Total, p.Counters = figuresOf(&all, p.Seconds), all
	return p, seenByClients(&p.Total, results, p.Seconds)
}

// nodes fills in what each KN did, and returns the sum. A KN that is gone counts with what it had done before the phase: with
// nothing.
func (r *runner) nodes(p *Phase, before, after map[threadID]*messages.KnStatistics) figures.Counters {
	var all figures.Counters
	sums := map[string]*figures.Counters{}
	ranks := map[string]uint32{}
	for id, last := range after {
		did := figures.Between(before[id], last)
		if sums[id.ip] == nil {
			sums[id.ip] = &figures.Counters{}
		}
		sums[id.ip].Add(did)
		ranks[id.ip] = last.GetRank()
		all.Add(did)
	}
	for _, ip := range slices.Sorted(maps.Keys(sums)) {
		p.KNs = append(p.KNs, KN{PrivateIP: ip, Rank: ranks[ip], Threads: sums[ip].Threads, Figures: figuresOf(sums[ip], p.Seconds)})
	}
	return all
}

// seenByClients puts the clients' view into the total.
func seenByClients(total *Figures, results []*messages.BenchReport, seconds float64) error {
	latencies := latency.New()
	total.Operations, total.Errors = 0, map[string]uint64{}
	failed := uint64(0)
	for _, b := range results {
		total.Operations += b.GetOperations()
		for name, n := range b.GetErrors() {
			total.Errors[name] += n
			failed += n
		}
		h, err := latency.Decode(b.GetLatencyHistogram())
		if err != nil {
			return fmt.Errorf("report of %s: %w", b.GetUid(), err)
		}
		latencies.Merge(h)
	}
	total.Latency, total.Throughput = latencies.Summary(), 0
	if seconds > 0 {
		total.Throughput = float64(total.Operations) / seconds
	}
	if total.Operations == failed {
		return fmt.Errorf("%w: %s", ErrNothing, errorText(total.Errors))
	}
	return nil
}

// command sends a line to every benchmark thread and waits until all have finished.
func (r *runner) command(ctx context.Context, name, line string) ([]*messages.BenchReport, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.PhaseTimeout+seconds(r.o.Seconds))
	defer cancel()
	r.mu.Lock()
	r.mu.line, r.mu.refusal = line, ""
	r.mu.finished, r.mu.done, r.mu.seconds = map[string]*messages.BenchReport{}, map[string]uint64{}, map[string]float64{}
	r.mu.Unlock()
	for _, ip := range r.o.Benches {
		for t := range r.o.BenchThreads {
			a, err := r.o.Plan.Address(ip, messages.BenchCommand, t)
			if err != nil {
				return nil, err
			}
			if err := r.asker.SendFrame(a.String(), []byte(line)); err != nil {
				return nil, err
			}
		}
	}
	for {
		results, refusal, changed := r.progress(name)
		switch {
		case refusal != "":
			return nil, fmt.Errorf("%w: %s", ErrRefused, refusal)
		case len(results) == r.o.threads():
			return results, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d benchmark threads finished: %w", len(results), r.o.threads(), context.Cause(ctx))
		}
	}
}

// progress reports how far the phase is, and returns what has finished and a channel that the next change closes.
func (r *runner) progress(name string) (results []*messages.BenchReport, refusal string, changed <-chan struct{}) {
	r.mu.Lock()
	operations, most := uint64(0), 0.0
	for uid, n := range r.mu.done {
		operations += n
		most = max(most, r.mu.seconds[uid])
	}
	for _, uid := range slices.Sorted(maps.Keys(r.mu.finished)) {
		results = append(results, r.mu.finished[uid])
	}
	refusal, changed = r.mu.refusal, r.mu.changed
	r.mu.Unlock()
	fraction := most / r.o.Seconds
	switch {
	case len(results) == r.o.threads():
		fraction = 1
	case name == "load":
		fraction = float64(operations) / float64(r.o.Keys)
	case name == "warm":
		fraction = float64(operations) / float64(r.o.Warm*int64(r.o.threads()))
	}
	r.o.Progress(name, min(fraction, 1))
	return results, refusal, changed
}

// threadID names a KN thread.
type threadID struct {
	ip     string
	thread uint32
}

// statistics asks every KN of the map in force for its threads' counters.
func (r *runner) statistics(ctx context.Context) (map[threadID]*messages.KnStatistics, error) {
	ctx, cancel := context.WithTimeout(ctx, statisticsTimeout)
	defer cancel()
	dpm, err := r.o.Plan.Address(r.o.DPM, messages.DPMControl, 0)
	if err != nil {
		return nil, err
	}
	record, err := r.asker.Record(ctx, dpm.String(), ownership.RecordName)
	if err != nil {
		return nil, fmt.Errorf("ask the pool for its KNs: %w", err)
	}
	current, err := ownership.Decode(record.GetValue(), record.GetVersion(), nil)
	if err != nil {
		return nil, err
	}
	all := map[threadID]*messages.KnStatistics{}
	for _, m := range current.Members() {
		a, err := r.o.Plan.Address(m.PrivateIP, messages.KNControl, 0)
		if err != nil {
			return nil, err
		}
		report, err := r.asker.Statistics(ctx, a.String())
		if err != nil {
			return nil, fmt.Errorf("statistics of KN %s: %w", m.PrivateIP, err)
		}
		for _, s := range report.GetThreads() {
			all[threadID{m.PrivateIP, s.GetThread()}] = s
		}
	}
	return all, nil
}
