package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/nemesis"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// checkFlags are those of `dinomo check`.
type checkFlags struct {
	options nemesis.Options
	seconds float64
	network string
	history string
	keep    string
	verbose bool
}

func checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "check", Short: "Break a cluster at random and check that clients saw one copy of the data", GroupID: "cluster", Args: cobra.NoArgs,
		Long: `Starts a cluster, lets clients read and write while nodes are killed, stopped, cut off, added and removed, heals everything,
reads every key, and checks the recorded history for linearizability. With --history an earlier one is checked.

The run takes place in a network namespace of its own, where links are cut by nft. Exit status 1: something was wrong.`,
		Example: `  dinomo check --seconds 60
  dinomo check --seed 42 --faults pause-kn,kill-kn,replicate --fabric shm
  dinomo check --history /tmp/run/history.jsonl`,
	}
	f := &checkFlags{}
	flags, o := c.Flags(), &f.options
	flags.StringVar(&f.history, "history", "", "only check this `file`")
	flags.Float64Var(&f.seconds, "seconds", 30, "how long faults are made")
	flags.IntVar(&o.Operations, "operations", 0, "go on until so `many` operations are recorded")
	flags.Uint64Var(&o.Seed, "seed", 0, "`seed` of faults and clients; 0 takes a fresh one")
	flags.IntVar(&o.Clients, "clients", 16, "operations under way at a time")
	flags.IntVar(&o.Rate, "rate", 6000, "operations a second at most")
	flags.IntVar(&o.Keys, "keys", 2000, "`number` of keys")
	shapeFlags(c, &o.KNs, &o.Threads, &o.Monitors, &o.Routes)
	flags.StringVar(&o.Fabric, "fabric", "tcp", "`shm or tcp`")
	flags.DurationVar(&o.Lease, "lease", 0, "length of a KN's lease")
	flags.StringVar(&o.CachePolicy, "cache-policy", "", "kvs_config.cache-policy")
	flags.IntVar(&o.CacheKiB, "cache-kib", 0, "cache of a KN's thread, in `KiB`")
	flags.StringSliceVar(&o.Faults, "faults", nil, "kinds of fault, of: "+fmt.Sprint(nemesis.Names()))
	flags.DurationVar(&o.CheckTime, "check-time", time.Minute, "bound on the checking of one key")
	flags.StringArrayVar(&o.Set, "set", nil, "one configuration value, as `section.key=value`")
	flags.StringVar(&f.network, "network", cluster.DefaultNetwork, "256 loopback `addresses`, one for each node")
	flags.StringVar(&f.keep, "keep", "", "`directory` for history, logs and pool; by default they are kept only when something was wrong")
	flags.BoolVar(&f.verbose, "verbose", false, "print what happens; it always goes to nemesis.log in the directory, too")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if f.history != "" {
			return f.checkFile(c)
		}
		return f.run(c)
	}
	return c
}

// checkFile checks an earlier history.
func (f *checkFlags) checkFile(c *cobra.Command) error {
	progress := newProgress(c.ErrOrStderr())
	verdict, err := nemesis.CheckFile(f.history, f.options.CheckTime, filepath.Dir(f.history), progress.update)
	progress.end()
	if err != nil {
		return err
	}
	if err := verdict.WriteText(c.OutOrStdout()); err != nil {
		return err
	}
	if verdict.History.Verdict != history.Linearizable {
		return exit(1)
	}
	return nil
}

func (f *checkFlags) run(c *cobra.Command) error {
	o := &f.options
	if !nemesis.Isolated() {
		status, err := nemesis.Isolate(c.Context(), os.Args[1:])
		switch {
		case errors.Is(err, nemesis.ErrCannotIsolate):
			fmt.Fprintln(c.ErrOrStderr(), err)
		case err != nil:
			return err
		case status != 0:
			return exit(status)
		default:
			return nil
		}
	}
	var err error
	if o.Network, err = cluster.ParseNetwork(f.network); err != nil {
		return usageError{err}
	}
	o.Duration = time.Duration(f.seconds * float64(time.Second))
	if o.Directory = f.keep; o.Directory == "" {
		if o.Directory, err = os.MkdirTemp("", "dinomo-check-"); err != nil {
			return err
		}
	}
	if o.Seed == 0 {
		o.Seed = random.FreshSeed()
	}
	fmt.Fprintf(c.OutOrStdout(), "dinomo check --seed %d --fabric %s --seconds %v, in %s\n", o.Seed, o.Fabric, f.seconds, o.Directory)
	progress := newProgress(c.ErrOrStderr())
	o.Progress = progress.update
	if f.verbose {
		o.Logf = logger(c.ErrOrStderr())
	}
	report, err := nemesis.Run(c.Context(), *o)
	progress.end()
	switch {
	case err != nil && c.Context().Err() != nil:
		if f.keep == "" {
			err = os.RemoveAll(o.Directory)
		}
		return errors.Join(wasInterrupted(c), err)
	case err != nil && f.keep == "" && os.Remove(o.Directory) == nil: // empty: nothing was begun
		return err
	case err != nil:
		return fmt.Errorf("%w (logs are in %s)", err, o.Directory)
	}
	if err := report.WriteText(c.OutOrStdout()); err != nil {
		return err
	}
	if !report.Passed() {
		return exit(1)
	}
	if f.keep == "" {
		return os.RemoveAll(o.Directory)
	}
	return nil
}
