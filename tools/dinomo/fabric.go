package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

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
		Long: `Serves a pool of its own, by default, so that it can be run anywhere at any time. Against a live DPM (--address) it reads only.`,
		Example: `  dinomo fabric bench --backend tcp --sizes 64,1024
  dinomo fabric bench --address 127.0.10.2:9100`,
	}
	var o bench.Options
	flags := c.Flags()
	flags.StringVar(&o.Backend, "backend", "shm", "`shm, tcp or ibverbs`")
	flags.StringVar(&o.Address, "address", "", "`ip:port` of a live DPM's verbs")
	flags.IntSliceVar(&o.Sizes, "sizes", nil, "`bytes` of READs and WRITEs")
	flags.IntSliceVar(&o.Batches, "batches", nil, "`numbers` of verbs posted together")
	flags.IntSliceVar(&o.QueuePairs, "queue-pairs", nil, "`numbers` of queue pairs at work at the same time")
	flags.DurationVar(&o.Duration, "duration", 500*time.Millisecond, "of each measurement")
	flags.BoolVar(&o.Calls, "calls", false, "measure calls, too")
	asJSON := flags.Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !*asJSON {
			fmt.Fprintln(c.OutOrStdout(), bench.Header)
			o.Logf = func(format string, args ...any) { fmt.Fprintf(c.OutOrStdout(), format+"\n", args...) }
		}
		report, err := bench.Run(c.Context(), o)
		if err != nil || !*asJSON {
			return err
		}
		return encodeJSON(c.OutOrStdout(), report)
	}
	return c
}

func fabricProbeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "probe", Short: "Say which fabrics this machine can use, and what is missing", Args: cobra.NoArgs,
		Example: `  dinomo fabric probe --directory /mnt/pmem`,
	}
	var o bench.ProbeOptions
	flags := c.Flags()
	flags.StringVar(&o.Directory, "directory", "", "`directory` where a pool would lie, to see whether it is persistent memory")
	flags.StringVar(&o.Address, "address", "", "`ip:port` of a DPM's verbs to dial")
	flags.StringVar(&o.Backend, "backend", "shm", "`backend` to dial it with")
	asJSON := flags.Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		report := bench.Probe(c.Context(), o)
		if *asJSON {
			return encodeJSON(c.OutOrStdout(), report)
		}
		fmt.Fprint(c.OutOrStdout(), report)
		return nil
	}
	return c
}

func encodeJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
