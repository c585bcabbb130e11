package experiment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/timeline"
)

// TimedReport is what an experiment over time leaves: the time line, its phases, and what the cluster decided.
type TimedReport struct {
	*timeline.Timeline
	Commit string `json:"commit"`
	// Phases are the parts of the time line as clients saw them.
	Phases []TimedPhase `json:"phases"`
	// Decisions are the policy's, each with the figures that led to it.
	Decisions []string `json:"decisions,omitempty"`
	// Failovers and HotKey are those experiments' findings.
	Failovers []Failover  `json:"failovers,omitempty"`
	HotKey    []HotKeyRow `json:"hot_key,omitempty"`
}

// TimedPhase is a part of the time line.
type TimedPhase struct {
	Name         string  `json:"name"`
	FromSeconds  float64 `json:"from_seconds"`
	UntilSeconds float64 `json:"until_seconds"`
	KNs          int     `json:"kns_at_end"`
	OpsPerSecond float64 `json:"ops_per_second"`
	MeanMicros   float64 `json:"mean_us"`
	// WorstP99Micros is the worst step's.
	WorstP99Micros float64 `json:"worst_p99_us"`
	Failed         float64 `json:"failed"`
}

// timed is an experiment over time under way.
type timed struct {
	o      *Options
	c      *cluster.Cluster
	asker  *cluster.Asker
	l      *load
	w      *watcher
	phases []TimedPhase
	marks  []timeline.Mark
}

// begin starts a cluster, loads the keys, and begins a time line.
func begin(ctx context.Context, o *Options, topology cluster.Topology, s setup) (x *timed, err error) {
	x = &timed{o: o}
	if x.c, err = o.up(ctx, s.name, topology, s.set...); err != nil {
		return nil, err
	}
	fail := func(err error) (*timed, error) { return nil, errors.Join(err, x.close()) }
	if x.asker, err = cluster.NewAsker(o.Network.Tool(1), nil); err != nil {
		return fail(err)
	}
	if x.l, err = newLoad(o, x.c, x.asker, s.step, s.attempt); err != nil {
		return fail(err)
	}
	var more []string
	if s.key != "" {
		more = append(more, s.key)
	}
	if err := x.l.fill(ctx, o, more...); err != nil {
		return fail(err)
	}
	x.l.began = x.l.clock.Now()
	if x.w, err = watch(ctx, x.l, x.c, x.asker, s.key); err != nil {
		return fail(err)
	}
	return x, nil
}

// setup is what an experiment over time needs beside its cluster's nodes.
type setup struct {
	name          string
	set           []string
	step, attempt time.Duration
	key           string // followed by the watcher, and loaded
}

// close ends the clients and the cluster.
func (x *timed) close() error {
	var errs []error
	if x.w != nil {
		x.w.close()
	}
	if x.l != nil {
		errs = append(errs, x.l.close())
	}
	if x.asker != nil {
		errs = append(errs, x.asker.Close())
	}
	if x.c != nil {
		errs = append(errs, x.c.Close())
	}
	return errors.Join(errs...)
}

// phase begins a part of the time line, and ends the one before.
func (x *timed) phase(name string) {
	now := x.l.now().Seconds()
	x.endPhase(now)
	x.phases = append(x.phases, TimedPhase{Name: name, FromSeconds: now})
	x.mark("%s", name)
	x.o.Progress(name, 0)
}

func (x *timed) endPhase(now float64) {
	if n := len(x.phases); n > 0 {
		x.phases[n-1].UntilSeconds, x.phases[n-1].KNs = now, x.w.members()
	}
}

// mark notes an event of the experiment's own.
func (x *timed) mark(format string, args ...any) {
	x.marks = append(x.marks, timeline.Mark{AtSeconds: x.l.now().Seconds(), Label: fmt.Sprintf(format, args...)})
	x.o.Logf(format, args...)
}

// report puts together what was seen. The M-node writes its journal once a period: the caller has waited for that.
func (x *timed) report(title string, facts map[string]string) (*TimedReport, error) {
	x.endPhase(x.l.now().Seconds())
	t := x.l.recorder.Timeline(title)
	t.Facts = map[string]string{
		"keys": fmt.Sprint(x.o.Keys), "value bytes": fmt.Sprint(x.o.ValueBytes), "zipf": fmt.Sprint(x.o.Zipf), "threads of a KN": fmt.Sprint(x.o.Threads),
		"fabric": x.o.Fabric, "cache": fmt.Sprintf("%s, %v a KN", x.c.Conf().CachePolicy(), x.c.Conf().Capacities.CacheBytes), "lease": x.c.Conf().Dinomo.Lease.Length.String(),
	}
	if x.o.ServiceRate > 0 {
		t.Facts["capacity of a KN thread"] = fmt.Sprintf("limited to %d op/s, so that more of them can serve more on a machine of few cores", x.o.ServiceRate)
	}
	maps.Copy(t.Facts, facts)
	t.Lines = x.w.lines()
	for _, m := range x.marks {
		t.Mark(time.Duration(m.AtSeconds*float64(time.Second)), "%s", m.Label)
	}
	r := &TimedReport{Timeline: t, Commit: x.o.Commit, Phases: x.phases}
	events, err := readJournal(x.c)
	for _, e := range events {
		at := x.l.at(e.Time)
		if at < 0 {
			continue // while the cluster came up
		}
		switch e.Kind {
		case decisionEvent:
			r.Decisions = append(r.Decisions, fmt.Sprintf("%.1f s: %s", at.Seconds(), e.Text))
			t.Mark(at, "%s", label(e))
		case "change-commit", "rank-dead":
			t.Mark(at, "%s", label(e))
		}
	}
	for i := range r.Phases {
		r.Phases[i].fill(t)
	}
	return r, err
}

// fill computes a phase's figures from the steps that lie wholly within it.
func (p *TimedPhase) fill(t *timeline.Timeline) {
	var operations, micros, seconds float64
	for _, point := range t.Points {
		if point.AtSeconds < p.FromSeconds || point.AtSeconds+t.StepSeconds > p.UntilSeconds {
			continue
		}
		seconds += t.StepSeconds
		operations += point.OpsPerSecond * t.StepSeconds
		micros += point.MeanMicros * point.OpsPerSecond * t.StepSeconds
		p.WorstP99Micros = max(p.WorstP99Micros, point.P99Micros)
		p.Failed += point.FailedPerSecond * t.StepSeconds
	}
	if seconds > 0 {
		p.OpsPerSecond = operations / seconds
	}
	if operations > 0 {
		p.MeanMicros = micros / operations
	}
}

// WriteText prints the phases, the events and the decisions for people.
func (r *TimedReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n", r.Title)
	for _, name := range slices.Sorted(maps.Keys(r.Facts)) {
		fmt.Fprintf(w, "  %s: %s\n", name, r.Facts[name])
	}
	fmt.Fprintf(w, "\n%-28s %8s %8s %5s %10s %9s %13s %7s\n", "phase", "from s", "until s", "KNs", "op/s", "mean us", "worst p99 us", "failed")
	for _, p := range r.Phases {
		fmt.Fprintf(w, "%-28s %8.1f %8.1f %5d %10.0f %9.0f %13.0f %7.0f\n", p.Name, p.FromSeconds, p.UntilSeconds, p.KNs, p.OpsPerSecond, p.MeanMicros, p.WorstP99Micros, p.Failed)
	}
	if len(r.HotKey) > 0 {
		fmt.Fprintf(w, "\n%-22s %9s %12s %14s %14s\n", "owners of the hot key", "seconds", "reads of it", "reads of it/s", "busiest owner")
		for _, h := range r.HotKey {
			fmt.Fprintf(w, "%-22d %9.1f %12d %14.0f %12.1f %%\n", h.Owners, h.Seconds, h.Reads, h.ReadsPerSecond, 100*h.BusiestShare)
		}
	}
	for _, f := range r.Failovers {
		fmt.Fprintf(w, "\n%s\n", f)
	}
	fmt.Fprintln(w, "\nevents:")
	for _, m := range r.Marks {
		fmt.Fprintf(w, "  %8.2f s  %s\n", m.AtSeconds, m.Label)
	}
	if len(r.Decisions) > 0 {
		fmt.Fprintln(w, "\ndecisions of the policy:")
	}
	for _, d := range r.Decisions {
		fmt.Fprintf(w, "  %s\n", d)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// WriteJSON writes the report to a file.
func (r *TimedReport) WriteJSON(path string) error { return writeJSON(path, r) }

// Draw writes the picture to a .png or .svg file.
func (r *TimedReport) Draw(path string) error {
	if err := r.Timeline.Draw(path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
