package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/experiment"
)

func experimentCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "experiment", Short: "Repeat the paper's experiments on clusters of this machine", GroupID: "cluster", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(profileCommand(), elasticityCommand(), hotKeyCommand(), failureCommand())
	return c
}

// experimentFlags are those that all experiments have.
type experimentFlags struct {
	*configuration
	network, keep, json, plot string
	cacheMB                   float64
	zipf                      float64
	verbose                   bool
}

func addExperimentFlags(c *cobra.Command, o *experiment.Options) *experimentFlags {
	f := &experimentFlags{configuration: configFlags(c)}
	flags := c.Flags()
	flags.StringVar(&f.network, "network", cluster.DefaultNetwork, "256 loopback `addresses`, one for each node")
	flags.StringVar(&f.keep, "keep", "", "`directory` to keep pools and logs in; by default they are removed")
	flags.StringVar(&f.json, "json", "", "`file` for the report as JSON")
	flags.StringVar(&f.plot, "plot", "", "`file` for the picture, .png or .svg")
	flags.StringVar(&o.Fabric, "fabric", "shm", "`shm, tcp or ibverbs`")
	flags.IntVar(&o.Threads, "threads", 2, "request `threads` of each KN")
	flags.Uint64Var(&o.Keys, "keys", o.Keys, "`number` of keys")
	flags.IntVar(&o.ValueBytes, "value", o.ValueBytes, "`bytes` of each value")
	flags.Float64Var(&f.zipf, "zipf", o.Zipf, "skew of the keys; 0 is uniform")
	flags.IntVar(&o.ServiceRate, "service-rate", o.ServiceRate, "`operations` a second that a KN thread serves at most; 0 is the experiment's own choice, -1 no limit")
	flags.Float64Var(&f.cacheMB, "cache-mb", 0, "cache in `MiB`; 0 is the experiment's own choice")
	flags.BoolVar(&f.verbose, "verbose", false, "say what happens to each process")
	return f
}

// fill completes an experiment's options, and returns what removes its files when it went well.
func (f *experimentFlags) fill(c *cobra.Command, o *experiment.Options) (tidy func() error, err error) {
	if o.Network, err = cluster.ParseNetwork(f.network); err != nil {
		return nil, usageError{err}
	}
	if o.Zipf = f.zipf; o.Zipf == 0 {
		o.Zipf = -1
	}
	o.CacheBytes = int64(f.cacheMB * (1 << 20))
	o.Files, o.Set, o.Commit = f.files, f.set, revision()
	if f.verbose {
		o.Logf = logger(c.ErrOrStderr())
	}
	if o.Directory = f.keep; o.Directory != "" {
		return func() error { return nil }, nil
	}
	if o.Directory, err = os.MkdirTemp("", "dinomo-experiment-"); err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(o.Directory) }, nil
}

// experimentReport is what an experiment leaves.
type experimentReport interface {
	WriteText(io.Writer) error
	WriteJSON(path string) error
	Draw(path string) error
}

// conclude shows a report, which may be partial or missing when err says so. Pools and logs of what failed are kept, but not of what somebody
// has interrupted.
func (f *experimentFlags) conclude(c *cobra.Command, o *experiment.Options, r experimentReport, err error, tidy func() error) error {
	if r != nil {
		err = errors.Join(err, r.WriteText(c.OutOrStdout()))
		if f.json != "" {
			err = errors.Join(err, r.WriteJSON(f.json))
		}
		if f.plot != "" {
			err = errors.Join(err, r.Draw(f.plot))
		}
	}
	switch {
	case err != nil && c.Context().Err() != nil:
		return errors.Join(wasInterrupted(c), tidy())
	case r == nil: // nothing was begun
		return errors.Join(err, tidy())
	case err != nil:
		return fmt.Errorf("%w (logs are in %s)", err, o.Directory)
	}
	return tidy()
}

func profileCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "profile", Short: "Hits, round trips, bytes and throughput of each cache policy", Args: cobra.NoArgs,
		Long: `Starts a cluster for each system and number of KNs, loads it, warms the caches, and runs read-only, 95/5 and 50/50, with updates
and with inserts. The systems: dinomo (the configured cache), dinomo-s (shortcuts only), static (half of the cache for
values), none; or any policy that kvs_config.cache-policy takes. The cache is that of all KNs together (1/32 of the data).`,
		Example: `  dinomo experiment profile --kns 1,2,4 --json profile.json --plot profile.png
  dinomo experiment profile --keys 20000 --seconds 1 --systems dinomo,static:0.2 --workloads read-only`,
	}
	o := experiment.ProfileOptions{Options: experiment.Options{Keys: 200_000, ValueBytes: 1006, Zipf: 0.99}}
	f := addExperimentFlags(c, &o.Options)
	flags := c.Flags()
	flags.IntSliceVar(&o.KNs, "kns", []int{1, 2}, "`numbers` of KNs")
	systems := flags.StringSlice("systems", []string{"dinomo", "dinomo-s", "static", "none"}, "`systems` to compare")
	workloads := flags.StringSlice("workloads", nil, "`workloads` to run, such as read-only, 95/5 update, 50/50 insert (default all)")
	flags.Float64Var(&o.Seconds, "seconds", 5, "`seconds` of each workload")
	flags.IntVar(&o.Outstanding, "outstanding", 64, "`operations` under way at a time, in all")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if _, done, err := f.load(c.OutOrStdout()); err != nil || done {
			return err
		}
		for _, name := range *systems {
			s := experiment.ParseSystem(name)
			if _, _, err := f.load(io.Discard, "kvs_config.cache-policy="+s.Policy); err != nil {
				return usageError{fmt.Errorf("--systems %s: %w", name, err)}
			}
			o.Systems = append(o.Systems, s)
		}
		for _, w := range *workloads {
			mix, err := experiment.ParseWorkload(w)
			if err != nil {
				return usageError{err}
			}
			o.Workloads = append(o.Workloads, mix)
		}
		tidy, err := f.fill(c, &o.Options)
		if err != nil {
			return err
		}
		progress := newProgress(c.ErrOrStderr())
		o.Progress = progress.update
		report, err := experiment.Profile(c.Context(), o)
		progress.end()
		if report == nil {
			return f.conclude(c, &o.Options, nil, err, tidy)
		}
		return f.conclude(c, &o.Options, report, err, tidy)
	}
	return c
}

// runTimed carries out an experiment over time.
func (f *experimentFlags) runTimed(c *cobra.Command, o *experiment.Options, show func() (*experiment.TimedReport, error)) error {
	if _, done, err := f.load(c.OutOrStdout()); err != nil || done {
		return err
	}
	tidy, err := f.fill(c, o)
	if err != nil {
		return err
	}
	progress := newProgress(c.ErrOrStderr())
	o.Progress = progress.update
	report, err := show()
	progress.end()
	if report == nil {
		return f.conclude(c, o, nil, err, tidy)
	}
	return f.conclude(c, o, report, err, tidy)
}

func elasticityCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "elasticity", Short: "A load step makes the cluster grow, its end makes it shrink", Args: cobra.NoArgs,
		Long: `Starts the smallest cluster with policy.elasticity, puts a low load on it, then a high one until the M-node's policy has made it
grow to the largest, then a low one again until it is the smallest. Prints the phases and each decision with its figures.`,
		Example: `  dinomo experiment elasticity --plot elasticity.png --json elasticity.json
  dinomo experiment elasticity --min-kns 2 --max-kns 6 --high 1024 --decision-period 10s --grace 90s --patience 15m`,
	}
	o := experiment.ElasticityOptions{Options: experiment.Options{Keys: 50_000, ValueBytes: 1006, Zipf: 0.99}}
	f := addExperimentFlags(c, &o.Options)
	flags := c.Flags()
	flags.IntVar(&o.MinKNs, "min-kns", 1, "`number` of KNs at first, and never below")
	flags.IntVar(&o.MaxKNs, "max-kns", 3, "`number` of KNs never exceeded")
	flags.IntVar(&o.Low, "low", 1, "`operations` under way before and after the step")
	flags.IntVar(&o.High, "high", 256, "`operations` under way in the step")
	flags.Float64Var(&o.ReadRatio, "read-ratio", 0.95, "share of reads")
	flags.DurationVar(&o.SLO, "slo", 1200*time.Microsecond, "mean `latency` that is promised")
	flags.DurationVar(&o.DecisionPeriod, "decision-period", 2*time.Second, "how often the M-node decides")
	flags.DurationVar(&o.GracePeriod, "grace", 6*time.Second, "no decision for so long after a change")
	flags.DurationVar(&o.Quiet, "quiet", 5*time.Second, "how long nothing happens at first")
	flags.DurationVar(&o.Patience, "patience", 2*time.Minute, "how long to wait for the cluster to grow, and to shrink")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return f.runTimed(c, &o.Options, func() (*experiment.TimedReport, error) { return experiment.Elasticity(c.Context(), o) })
	}
	return c
}

func failureCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "failure", Short: "A KN is killed, another one stopped, under load", Args: cobra.NoArgs,
		Long: `Puts a load on a cluster and makes KNs fail: known-dead is killed and waited for by the management node; unreachable is stopped
(SIGSTOP), so that only its lease tells, and continues later. Measures until keys of the failed KN are served again.`,
		Example: `  dinomo experiment failure --plot failure.png --json failure.json
  dinomo experiment failure --kinds unreachable --set dinomo.lease.length=500ms --set dinomo.lease.renew-period=100ms`,
	}
	o := experiment.FailureOptions{Options: experiment.Options{Keys: 50_000, ValueBytes: 1006, Zipf: 0.99}}
	f := addExperimentFlags(c, &o.Options)
	flags := c.Flags()
	flags.IntVar(&o.KNs, "kns", 3, "`number` of KNs")
	flags.StringSliceVar(&o.Kinds, "kinds", []string{experiment.KnownDead, experiment.Unreachable}, "failures to make, one after the other")
	flags.IntVar(&o.Outstanding, "outstanding", 32, "`operations` under way at a time, in all")
	flags.Float64Var(&o.ReadRatio, "read-ratio", 0.5, "share of reads")
	flags.DurationVar(&o.Before, "before", 3*time.Second, "how long the load goes on before each failure")
	flags.DurationVar(&o.After, "after", 5*time.Second, "and how long after it")
	flags.IntVar(&o.Probes, "probes", 64, "`number` of the failed KN's keys that are asked for")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return f.runTimed(c, &o.Options, func() (*experiment.TimedReport, error) { return experiment.Failure(c.Context(), o) })
	}
	return c
}

func hotKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "hotkey", Short: "A key becomes very hot, is replicated while it is written, and taken back", Args: cobra.NoArgs,
		Long: `Starts a cluster with policy.selective-rep, makes one key very hot until the M-node's policy has given it to all KNs, and cold
again until it has one owner. Prints how often the key was read with each number of owners.`,
		Example: `  dinomo experiment hotkey --plot hotkey.png --json hotkey.json
  dinomo experiment hotkey --kns 4 --hot-share 0.9 --read-ratio 0.99`,
	}
	o := experiment.HotKeyOptions{Options: experiment.Options{Keys: 50_000, ValueBytes: 1006}}
	f := addExperimentFlags(c, &o.Options)
	flags := c.Flags()
	flags.IntVar(&o.KNs, "kns", 3, "`number` of KNs")
	flags.IntVar(&o.Low, "low", 1, "`operations` under way while no key is hot")
	flags.IntVar(&o.High, "high", 128, "`operations` under way while one is")
	flags.Float64Var(&o.HotShare, "hot-share", 0.8, "share of the operations that are on the hot key")
	flags.Float64Var(&o.ReadRatio, "read-ratio", 0.95, "share of reads")
	flags.DurationVar(&o.SLO, "slo", 600*time.Microsecond, "mean `latency` that is promised")
	flags.DurationVar(&o.DecisionPeriod, "decision-period", 2*time.Second, "how often the M-node decides")
	flags.DurationVar(&o.GracePeriod, "grace", 4*time.Second, "no decision for so long after a change")
	flags.DurationVar(&o.Quiet, "quiet", 5*time.Second, "how long nothing happens at first and in the end")
	flags.DurationVar(&o.Steady, "steady", 10*time.Second, "how long the key stays hot once it is on all KNs")
	flags.DurationVar(&o.Patience, "patience", 90*time.Second, "how long to wait for the policy")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return f.runTimed(c, &o.Options, func() (*experiment.TimedReport, error) { return experiment.HotKey(c.Context(), o) })
	}
	return c
}
