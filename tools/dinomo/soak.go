package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/run"
	"github.com/dinomo-kv/dinomo/cluster/soak"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/messages"
)

func soakCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "soak", Short: "Watch the KNs' memory through a long run: within the cache and a constant", GroupID: "cluster", Args: cobra.NoArgs,
		Long: `Starts a cluster and loads it as "dinomo run" does, runs 95 % reads for half of the time and 50 % reads for the other, and looks
at each KN's resident memory every second. Prints the run's report and the memory over the time; the exit status is not 0
when a KN took more than its configured cache and the constant.`,
		Example: `  dinomo soak --seconds 60
  dinomo soak --memory memory.json --report report.json`,
	}
	f := newRunFlags(c)
	file := c.Flags().String("memory", "", "`file` for all samples of the memory as JSON")
	c.Flags().Lookup("seconds").Usage = "`seconds` of the whole run, half of it for each phase"
	c.Flags().Lookup("seconds").DefValue = "600"
	f.options.Seconds = 600
	var seen *soak.Report
	var lost error // a process that could not be watched to the end
	f.watch = func(ctx context.Context, l *conf.Loaded, running *cluster.Cluster) (end func(), err error) {
		o, err := f.soak(ctx, l, running)
		if err != nil {
			return nil, err
		}
		w := soak.Begin(o)
		return func() { seen, lost = w.End() }, nil
	}
	f.conclude = func(out io.Writer) error {
		fmt.Fprintln(out)
		err := errors.Join(lost, seen.WriteText(out), seen.Check())
		if *file != "" {
			err = errors.Join(err, seen.WriteJSON(*file))
		}
		return err
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		f.options.Mixes = run.DefaultMixes()
		f.options.Seconds /= float64(len(f.options.Mixes))
		return f.run(c)
	}
	return c
}

// soak says what is watched of a cluster: the KNs that its management node has started.
func (f *runFlags) soak(ctx context.Context, l *conf.Loaded, running *cluster.Cluster) (soak.Options, error) {
	o := soak.Options{
		Pool: l.PoolPath(), CacheBytes: int64(l.Capacities.CacheBytes), Threads: l.Threads.KN,
		Commit: f.options.Commit, Configuration: f.options.Configuration,
	}
	status, err := running.ManagerStatus(ctx)
	if err != nil {
		return o, fmt.Errorf("ask for the KNs' processes: %w", err)
	}
	for _, n := range status.GetNodes() {
		if n.GetKind() == string(messages.KindMemory) {
			o.Processes = append(o.Processes, soak.Process{Name: "KN " + n.GetPrivateIp(), PID: int(n.GetPid())})
		}
	}
	if len(o.Processes) != f.topology.KNs {
		return o, fmt.Errorf("%d KNs are running, %d were started", len(o.Processes), f.topology.KNs)
	}
	return o, nil
}
