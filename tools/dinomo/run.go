package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/run"
	"github.com/dinomo-kv/dinomo/conf"
)

// runFlags are those of `dinomo run`.
type runFlags struct {
	*configuration
	topology *cluster.Topology
	network  *string

	options          run.Options
	threads, cacheMB int
	fabric, report   string
	keep             string

	// watch begins to watch a cluster that is about to run, and returns what ends that. conclude shows and judges what was seen,
	// after the report. Nil: nothing is watched.
	watch    func(context.Context, *conf.Loaded, *cluster.Cluster) (end func(), err error)
	conclude func(io.Writer) error
}

func runCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "run", Short: "Start a cluster, load it, run 95/5 and 50/50, print the report, stop", GroupID: "cluster", Args: cobra.NoArgs,
		Long: `The main job: starts a cluster as "dinomo up" does, loads keys, warms the caches, runs 95 % reads and then 50 % reads over
Zipf-distributed keys, prints what clients saw and what each KN did, and stops everything.`,
		Example: `  dinomo run
  dinomo run --keys 1000000 --seconds 30 --kns 4 --zipf 1.2 --report report.json
  dinomo run --fabric tcp --cache-mb 64`,
	}
	f := newRunFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return f.run(c) }
	return c
}

// newRunFlags gives a command the flags of a run.
func newRunFlags(c *cobra.Command) *runFlags {
	f := &runFlags{configuration: configFlags(c)}
	f.topology, f.network = topologyFlags(c)
	flags := c.Flags()
	flags.Uint64Var(&f.options.Keys, "keys", 200_000, "`number` of keys")
	flags.IntVar(&f.options.ValueBytes, "value", 1006, "`bytes` of each value")
	flags.Float64Var(&f.options.Seconds, "seconds", 10, "`seconds` of each of the two phases")
	flags.IntVar(&f.threads, "threads", 2, "request `threads` of each KN")
	flags.Float64Var(&f.options.Zipf, "zipf", 0.99, "skew of the keys; 0 is uniform")
	flags.IntVar(&f.options.Outstanding, "outstanding", 64, "`operations` under way at a time, in all")
	flags.IntVar(&f.cacheMB, "cache-mb", 0, "cache of all KNs together in `MiB`; 0 is 1/32 of the data")
	flags.StringVar(&f.fabric, "fabric", "shm", "`shm, tcp or ibverbs`")
	flags.StringVar(&f.report, "report", "", "`file` for the report as JSON")
	flags.StringVar(&f.keep, "keep", "", "`directory` to keep pool and logs in; by default they are removed, and a pool that is there is an error")
	return f
}

func (f *runFlags) run(c *cobra.Command) (err error) {
	network, err := cluster.ParseNetwork(*f.network)
	if err != nil {
		return usageError{err}
	}
	if err := f.validate(); err != nil {
		return usageError{err}
	}
	directory := f.keep
	if directory == "" {
		if directory, err = os.MkdirTemp("", "dinomo-run-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
	}
	l, done, err := f.load(c.OutOrStdout(), f.overrides(directory)...)
	if err != nil || done {
		return err
	}
	if limit := int(l.Dinomo.Limits.ValueBytes); f.options.ValueBytes > limit {
		return usageError{fmt.Errorf("--value %d: the longest value is %d bytes; raise it with --set dinomo.limits.value=", f.options.ValueBytes, limit)}
	}
	// Opened before anything runs: a name that cannot be written is to be known now.
	file, err := f.openReport()
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := os.Stat(l.PoolPath()); err == nil {
		return fmt.Errorf("%s is there already; the run needs a pool of its own: give another --keep directory", l.PoolPath())
	}
	f.topology.Network = network
	f.topology.Invocation = cluster.Invocation{Files: f.files, Set: append(f.overrides(directory), f.set...)}
	report, err := f.measure(c.Context(), l, c.ErrOrStderr())
	switch {
	case err != nil && c.Context().Err() != nil:
		return wasInterrupted(c)
	case err != nil:
		return f.withLogs(err, directory)
	}
	if err := report.WriteText(c.OutOrStdout()); err != nil {
		return err
	}
	if err := file.write(report); err != nil || f.conclude == nil {
		return err
	}
	return f.conclude(c.OutOrStdout())
}

// interrupted is the exit status of a process that SIGINT ended, as shells have it.
const interrupted = 128 + 2

// wasInterrupted is what a command returns that a signal has ended before it was done, when it has stopped its cluster.
func wasInterrupted(c *cobra.Command) error {
	fmt.Fprintln(c.ErrOrStderr(), "interrupted; everything is stopped")
	return exit(interrupted)
}

// measure runs the phases against a cluster of their own. Whatever comes of it, the cluster has ended when it returns.
func (f *runFlags) measure(ctx context.Context, l *conf.Loaded, out io.Writer) (*run.Report, error) {
	running, err := cluster.Up(ctx, cluster.UpOptions{Topology: *f.topology, Waits: func(what string) { fmt.Fprintln(out, "waits:", what) }})
	if err != nil {
		return nil, err
	}
	f.fill(l, running)
	progress := newProgress(out)
	f.options.Progress = progress.update
	end := func() {}
	if f.watch != nil {
		if end, err = f.watch(ctx, l, running); err != nil {
			return nil, errors.Join(err, running.Close())
		}
	}
	report, err := run.Run(ctx, f.options)
	end()
	progress.end()
	return report, errors.Join(err, running.Close())
}

// validate says which flag has a value that makes no sense. 0 stands for a default further down, which is not what somebody
// means who types it.
func (f *runFlags) validate() error {
	for _, n := range []struct {
		flag        string
		value, from float64
	}{
		{"keys", float64(f.options.Keys), 1}, {"value", float64(f.options.ValueBytes), 1}, {"seconds", f.options.Seconds, 0.1},
		{"kns", float64(f.topology.KNs), 1}, {"threads", float64(f.threads), 1}, {"benches", float64(f.topology.Benches), 1},
		{"outstanding", float64(f.options.Outstanding), 1}, {"cache-mb", float64(f.cacheMB), 0}, {"zipf", f.options.Zipf, 0},
	} {
		if !(n.value >= n.from) { // so that NaN is none
			return fmt.Errorf("--%s %v: want %v or more", n.flag, n.value, n.from)
		}
	}
	if data := float64(f.options.Keys) * float64(f.options.ValueBytes); data > mostData {
		return fmt.Errorf("--keys %d --value %d: %.0f GiB of data; the pool has room for %d", f.options.Keys, f.options.ValueBytes, data/(1<<30), mostData>>30)
	}
	return nil
}

// mostData is how much a run loads at most: the largest pool is four times as large.
const mostData = 128 << 30

// overrides are the values that the flags stand for.
func (f *runFlags) overrides(directory string) []string {
	data := f.options.Keys * uint64(f.options.ValueBytes)
	cacheMiB := float64(f.cacheMB)
	if f.cacheMB == 0 {
		cacheMiB = float64(data) / 32 / (1 << 20)
	}
	perKN := max(cacheMiB/float64(max(f.topology.KNs, 1)), 0.25*float64(max(f.threads, 1)))
	return []string{
		"dinomo.data-dir=" + directory,
		"dinomo.fabric=" + f.fabric,
		fmt.Sprintf("threads.memory=%d", f.threads),
		fmt.Sprintf("capacities.memory-cap=%dB", int64(perKN*(1<<20))),
		fmt.Sprintf("capacities.storage-cap=%dMiB", max(1024, 4*data>>20)),
		"policy.server-report-period=1s", "policy.policy-decision-period=2s",
	}
}

// fill completes the run's options.
func (f *runFlags) fill(l *conf.Loaded, running *cluster.Cluster) {
	t, o := running.Topology(), &f.options
	o.IP, o.Plan, o.DPM = t.Network.Tool(1), running.Plan(), t.Network.DPM()
	o.Benches, o.BenchThreads = t.BenchIPs(), l.Threads.Benchmark
	o.Commit = revision()
	o.Configuration = map[string]string{
		"keys": fmt.Sprint(o.Keys), "value bytes": fmt.Sprint(o.ValueBytes), "seconds": fmt.Sprint(o.Seconds),
		"KNs": fmt.Sprint(t.KNs), "threads of a KN": fmt.Sprint(l.Threads.KN), "zipf": fmt.Sprint(o.Zipf),
		"outstanding": fmt.Sprint(o.Outstanding), "fabric": l.Dinomo.Fabric, "durability": l.Dinomo.Pool.Durability,
		"cache": fmt.Sprintf("%s, %v a KN", l.CachePolicy(), l.Capacities.CacheBytes), "benchmark threads": fmt.Sprint(l.Threads.Benchmark * t.Benches),
		"merge workers": fmt.Sprint(l.Threads.Merge),
	}
}

// withLogs keeps the logs of a run that failed and says where they are.
func (f *runFlags) withLogs(err error, directory string) error {
	if f.keep != "" {
		return fmt.Errorf("%w (logs are in %s)", err, filepath.Join(directory, "logs"))
	}
	kept, tempErr := os.MkdirTemp("", "dinomo-run-logs-")
	if tempErr != nil {
		return err
	}
	if os.CopyFS(kept, os.DirFS(filepath.Join(directory, "logs"))) != nil {
		return err
	}
	return fmt.Errorf("%w (logs are in %s)", err, kept)
}
