package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/dac/replay"
)

func replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "replay", Short: "Replay a trace of operations through a cache policy, without a cluster", GroupID: "tool", Args: cobra.NoArgs,
		Long: `Runs a trace, from a file or drawn from a law, through the cache alone, and reports hits, round trips and the distance to the
best static choice of what to cache.`,
		Example: `  dinomo replay --trace zipf:0.99,keys=200000,ops=4000000 --policy adaptive --cache-bytes 6400000 --miss-cost 3
  dinomo replay --trace trace.csv --policy static:0.5 --cache-bytes 64MiB --value-bytes 256 --json`,
	}
	var config replay.Config
	flags := c.Flags()
	flags.StringVar(&config.Policy, "policy", "", "cache `policy`: paper, adaptive, static:SHARE, value-only, shortcut-only, none")
	flags.StringVar(&config.Trace, "trace", "", "a `file` (our text, zstd or not, or the Twitter CSV) or a law: zipf:0.99, uniform, shift:..., scan:...")
	cache := flags.String("cache-bytes", "64MiB", "`size` of the cache, in bytes or with a unit")
	flags.Float64Var(&config.MissCost, "miss-cost", 0, "round trips of a miss; 0 lets the cache measure it")
	flags.IntVar(&config.ValueBytes, "value-bytes", 0, "`bytes` of values whose trace does not say (default 1024)")
	flags.Float64Var(&config.Warmup, "warmup", 0, "part of the operations that is not counted (default 0.5)")
	flags.Uint64Var(&config.Seed, "seed", 0, "start of the cache's random choices (default 1)")
	flags.BoolVar(&config.NoOptimum, "no-optimum", false, "do not search for the best static choice")
	asJSON := flags.Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if config.Trace == "" {
			return usageError{fmt.Errorf("--trace: name a file or a law, such as zipf:0.99")}
		}
		size, err := conf.ParseByteSize(*cache, conf.Byte)
		if err != nil {
			return usageError{fmt.Errorf("--cache-bytes: %w", err)}
		}
		config.CacheBytes = int(size)
		report, err := replay.Run(config)
		if err != nil {
			return err
		}
		if *asJSON {
			encoder := json.NewEncoder(c.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(report)
		}
		fmt.Fprint(c.OutOrStdout(), report)
		return nil
	}
	return c
}
