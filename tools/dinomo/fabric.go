package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
	"github.com/dinomo-kv/dinomo/dpm/fabric/bench"
)

func fabricCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "fabric", Short: "Measure verbs, or see which fabrics this machine has", GroupID: "tool", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(fabricBenchCommand(), fabricProbeCommand())
	return c
}

func fabricBenchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Measure latency and rate of each verb", Args: cobra.NoArgs,
		Long: `Measures one Post after the other for each verb, size, batch and number of queue pairs. By default it serves a pool of its own, so it
runs anywhere at any time. With --listen on one machine (until interrupted) and --connect on another it goes across the wire. Against a live
DPM (--address) it only reads.

With fabric ibverbs the card is the one of dinomo.rdma.device and port (--set, --config), or found.`,
		Example: `  dinomo fabric bench --backend tcp --sizes 64,1024 --verbs read,cas
  dinomo fabric bench --backend ibverbs --queue-pairs 1,4 --json
  dinomo fabric bench --backend ibverbs --listen 10.0.0.1:7100
  dinomo fabric bench --backend ibverbs --connect 10.0.0.1:7100
  dinomo fabric bench --backend tcp --address 127.0.10.2:9100`,
	}
	var o bench.Options
	f := configFlags(c)
	flags := c.Flags()
	flags.StringVar(&o.Backend, "backend", "", "`shm, tcp or ibverbs` (default dinomo.fabric, which is shm)")
	flags.StringVar(&o.Address, "address", "", "`ip:port` of a live DPM's verbs")
	flags.StringVar(&o.Listen, "listen", "", "serve a pool of scratch memory at `ip:port` for --connect elsewhere, until interrupted")
	flags.StringVar(&o.Connect, "connect", "", "`ip:port` of a bench with --listen")
	verbs := flags.StringSlice("verbs", nil, "`names` of verbs: read, write, cas, fetch_add, flush (default all)")
	flags.IntSliceVar(&o.Sizes, "sizes", nil, "`bytes` of READs and WRITEs (default 8,64,256,1024,4096,65536)")
	flags.IntSliceVar(&o.Batches, "batches", nil, "`numbers` of verbs posted together (default 1,16)")
	flags.IntSliceVar(&o.QueuePairs, "queue-pairs", nil, "`numbers` of queue pairs at work at the same time (default 1)")
	flags.DurationVar(&o.Duration, "duration", 500*time.Millisecond, "of each measurement")
	flags.BoolVar(&o.Calls, "calls", false, "measure calls, too")
	asJSON := flags.Bool("json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("address", "listen", "connect")
	c.RunE = func(c *cobra.Command, _ []string) error {
		done, err := fabricConfiguration(c.OutOrStdout(), f, &o.Backend, &o.Backends)
		if err != nil || done {
			return err
		}
		if o.Verbs, err = bench.ParseVerbs(*verbs); err != nil {
			return usageError{err}
		}
		if o.Listen != "" {
			return bench.Serve(c.Context(), o, func(address string) {
				fmt.Fprintf(c.OutOrStdout(), "serving %s; measure with: dinomo fabric bench --backend %s --connect %s\n", o.Backend, o.Backend, address)
			})
		}
		if !*asJSON {
			header := sync.OnceFunc(func() { fmt.Fprintln(c.OutOrStdout(), bench.Header) })
			o.Logf = func(format string, args ...any) { header(); fmt.Fprintf(c.OutOrStdout(), format+"\n", args...) }
		}
		report, err := bench.Run(c.Context(), o)
		if err != nil || !*asJSON {
			return err
		}
		return encodeJSON(c.OutOrStdout(), report)
	}
	return c
}

// fabricConfiguration takes from the configuration what flags do not say. done means that it was only to be printed.
func fabricConfiguration(out io.Writer, f *configuration, backend *string, options *backends.Options) (done bool, err error) {
	l, done, err := f.load(out)
	if err != nil || done {
		return done, err
	}
	if *backend == "" {
		*backend = l.Dinomo.Fabric
	}
	*options = cluster.FabricOptions(&l.Config)
	return false, nil
}

func fabricProbeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "probe", Short: "Say which fabrics this machine can use, and what is missing", Args: cobra.NoArgs,
		Long: `Tries what each fabric needs on this machine, changes nothing, and ends with status 1 if what was asked about cannot be used. With fabric
ibverbs it shows every port of every card, and which one dinomo.rdma.device and port (--set, --config) stand for.`,
		Example: `  dinomo fabric probe --directory /mnt/pmem
  dinomo fabric probe --set dinomo.rdma.device=mlx5_0
  dinomo fabric probe --backend ibverbs --address 10.0.0.2:9100 --json`,
	}
	var o bench.ProbeOptions
	f := configFlags(c)
	flags := c.Flags()
	flags.StringVar(&o.Directory, "directory", "", "`directory` where a pool would lie, to see whether it is persistent memory")
	flags.StringVar(&o.Address, "address", "", "`ip:port` of a DPM's verbs to dial")
	flags.StringVar(&o.Backend, "backend", "", "`backend` to dial it with (default dinomo.fabric, which is shm)")
	asJSON := flags.Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		done, err := fabricConfiguration(c.OutOrStdout(), f, &o.Backend, &o.Backends)
		if err != nil || done {
			return err
		}
		report := bench.Probe(c.Context(), o)
		if *asJSON {
			err = encodeJSON(c.OutOrStdout(), report)
		} else {
			_, err = fmt.Fprint(c.OutOrStdout(), report)
		}
		if err == nil && report.Worst() == bench.Bad {
			return exit(1)
		}
		return err
	}
	return c
}

func encodeJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
