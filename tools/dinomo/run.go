package main

import (
	"encoding/json"
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
	c.RunE = func(c *cobra.Command, _ []string) error { return f.run(c) }
	return c
}

func (f *runFlags) run(c *cobra.Command) (err error) {
	network, err := cluster.ParseNetwork(*f.network)
	if err != nil {
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
	if _, err := os.Stat(l.PoolPath()); err == nil {
		return fmt.Errorf("%s is there already; the run needs a pool of its own: give another --keep directory", l.PoolPath())
	}
	f.topology.Network = network
	f.topology.Invocation = cluster.Invocation{Files: f.files, Set: append(f.overrides(directory), f.set...)}
	progress := newProgress(c.ErrOrStderr())
	running, err := cluster.Up(c.Context(), cluster.UpOptions{Topology: *f.topology})
	if err != nil {
		return f.withLogs(err, directory)
	}
	f.fill(l, running)
	f.options.Progress = progress.update
	report, err := run.Run(c.Context(), f.options)
	progress.end()
	if err != nil {
		return errors.Join(f.withLogs(err, directory), running.Close())
	}
	if err := running.Close(); err != nil {
		return err
	}
	return f.show(c.OutOrStdout(), report)
}

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

// show prints the report, and writes it as JSON where that was asked for.
func (f *runFlags) show(out io.Writer, r *run.Report) error {
	if err := r.WriteText(out); err != nil {
		return err
	}
	if f.report == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.report, append(text, '\n'), 0o644)
}
