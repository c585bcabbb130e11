package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/tools/bench"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
	"github.com/dinomo-kv/dinomo/tools/trigger"
)

// benchOptions makes a benchmark node's options.
func benchOptions(c *conf.Config, env cluster.Env) (bench.Options, error) {
	client, err := cluster.ClientOptions(c, env)
	if err != nil {
		return bench.Options{}, err
	}
	return bench.Options{
		IP: c.User.IP, Threads: c.Threads.Benchmark, Plan: client.Plan, Client: client, Monitors: c.User.Monitoring, Logf: env.Logf,
	}, nil
}

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Run a benchmark node, or a benchmark from this process", GroupID: "role", Args: cobra.NoArgs,
		Long: "Waits for commands (dinomo trigger sends them) until it is interrupted:\n\n" + command.Help(),
		Example: `  PRIVATE_IP=10.0.0.20 ROUTING_IPS=10.0.0.4 MON_IPS=10.0.0.3 dinomo bench
  dinomo bench --index 1 --nodes 2
  dinomo bench --index 1 --nodes 2 --config cluster.yml`,
	}
	f := userFlags(c)
	index := c.Flags().Int("index", 0, "this node's `number` among the benchmark nodes")
	nodes := c.Flags().Int("nodes", 1, "`number` of benchmark nodes")
	f.address = func(n cluster.Network) string { return n.Bench(min(max(*index, 0), cluster.MaxBenches-1)) }
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		o, err := benchOptions(&l.Config, environment())
		if err != nil {
			return err
		}
		o.NodeIndex, o.Nodes = *index, *nodes
		return bench.Main(c.Context(), o, c.OutOrStdout())
	}
	c.AddCommand(ycsbCommand(), benchReplayCommand(), benchCompareCommand())
	return c
}

func ycsbCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ycsb [WORKLOAD]", Short: "Run YCSB's core workload A to F from this process", Args: cobra.MaximumNArgs(1),
		Example: `  dinomo bench ycsb A --load --keys 100000 --duration 10s
  dinomo bench ycsb --workload b`,
	}
	f := userFlags(c)
	var y bench.YCSBOptions
	flags := c.Flags()
	flags.StringVar(&y.Workload, "workload", "", "`letter` of the workload, instead of an argument")
	flags.Uint64Var(&y.Keys, "keys", 100_000, "`number` of keys")
	flags.IntVar(&y.ValueBytes, "value", 1000, "`bytes` of each value")
	flags.DurationVar(&y.Duration, "duration", 0, "how long (default 10s)")
	flags.Float64Var(&y.Zipf, "zipf", 0.99, "skew of the keys; negative is uniform")
	flags.IntVar(&y.Outstanding, "outstanding", 64, "`operations` under way on each thread")
	flags.BoolVar(&y.Load, "load", false, "write the keys first; without it they have to be there")
	flags.BoolVar(&y.JSON, "json", false, "print a recording as JSON")
	flags.StringVar(&y.Label, "label", "", "`text` that goes into the recording")
	c.RunE = func(c *cobra.Command, args []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		args = slices.DeleteFunc(append(args, y.Workload), func(s string) bool { return s == "" })
		if len(args) != 1 {
			return usageError{errors.New("want one workload, A to F: dinomo bench ycsb A, or --workload a")}
		}
		o, err := benchOptions(&l.Config, cluster.Env{Logf: quiet})
		if err != nil {
			return err
		}
		o.AnyPort, y.Workload, y.Out, y.Err = true, strings.ToUpper(args[0]), c.OutOrStdout(), c.ErrOrStderr()
		return bench.YCSBMain(c.Context(), o, y)
	}
	return c
}

func benchReplayCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "replay FILE", Short: "Carry out a file of benchmark commands and record what each did", Args: cobra.ExactArgs(1),
		Example: `  dinomo bench replay commands.txt --save before.json
  dinomo bench replay commands.txt --against before.json`,
	}
	f := userFlags(c)
	var p bench.ReplayOptions
	flags := c.Flags()
	flags.StringVar(&p.Save, "save", "", "`file` for the recording")
	flags.StringVar(&p.Against, "against", "", "recording in a `file` to compare with")
	flags.StringVar(&p.Label, "label", "", "`text` that goes into the recording")
	flags.BoolVar(&p.JSON, "json", false, "print the recording as JSON")
	here := flags.Bool("here", false, "generate the load in this process, not on the benchmark nodes")
	c.RunE = func(c *cobra.Command, args []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		o, err := benchOptions(&l.Config, cluster.Env{Logf: quiet})
		if err != nil {
			return err
		}
		o.AnyPort, p.File, p.Out, p.Err = true, args[0], c.OutOrStdout(), c.ErrOrStderr()
		if *here {
			return bench.ReplayMain(c.Context(), o, nil, p)
		}
		t, err := trigger.New(triggerOptions(&l.Config, o.Plan))
		if err != nil {
			return err
		}
		defer t.Close()
		return bench.ReplayMain(c.Context(), o, t, p)
	}
	return c
}

func benchCompareCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "compare BEFORE AFTER", Short: "Set two recordings side by side", Args: cobra.ExactArgs(2),
		Example: `  dinomo bench compare before.json after.json`,
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		return bench.CompareMain(args[0], args[1], bench.Output{Out: c.OutOrStdout(), Err: c.ErrOrStderr(), JSON: *asJSON})
	}
	return c
}
