package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dac/replay"
)

const replayHelp = `Runs a trace, from a file or drawn from a law, through the cache alone, and reports hits, round trips and the distance to the
best static choice of what to cache. With --plot, --policies or --cache-sizes it compares policies over cache sizes, prints a
table and draws the curves: this is how to size a cache.

A trace file has an operation a line, "G key [value_bytes]" (read), "U key [value_bytes]" (write) or "D key", or is one of
Twitter's cache traces (CSV); either may be compressed with zstd. A law is one of

  zipf:THETA
  uniform
  shift:THETA,PERIOD        popularity is reshuffled every PERIOD operations
  scan:THETA,SHARE,LENGTH   that share of the operations walks LENGTH keys in order
  drift:THETA,PERIOD        popularity swings between two orders and back once a PERIOD

followed by any of ,keys=200000 ,ops=4000000 ,updates=0 ,values=N or FROM-TO ,load=0 (1: write each key once before) ,seed=1.

Until each key was read once, no cache can hold it: a trace with few reads for each of its keys stays above the best choice,
which knows the popular ones beforehand, whatever the policy. load=1 takes that away, "dinomo replay goals" tells how much it is.`

func replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "replay", Short: "Replay a trace of operations through a cache policy, without a cluster", GroupID: "tool", Args: cobra.NoArgs,
		Long: replayHelp,
		Example: `  dinomo replay --trace zipf:0.99,keys=200000,ops=4000000 --policy adaptive --cache-bytes 6400000 --miss-cost 3
  dinomo replay --trace trace.csv --policy static:0.5 --cache-bytes 64MiB --value-bytes 256 --json
  dinomo replay --trace trace.zst --cache-bytes 1GiB --plot curves.png
  dinomo replay --trace shift:0.99,250000 --policies adaptive,paper,static:0.3 --cache-sizes 1MiB,8MiB,64MiB --plot curves.svg`,
	}
	var config replay.CurvesConfig
	flags := c.Flags()
	flags.StringVar(&config.Policy, "policy", dac.PolicyAdaptive, "cache `policy`: adaptive, paper, static:SHARE, value-only, shortcut-only, none")
	flags.StringVar(&config.Trace, "trace", "", "a `file` or a law, such as zipf:0.99, uniform, shift:0.99,250000 or scan:0.9,0.3,20000")
	cache := flags.String("cache-bytes", "64MiB", "`size` of the cache, in bytes or with a unit; curves end there")
	flags.Float64Var(&config.MissCost, "miss-cost", 0, "round trips of a miss; 0: a miss takes 2, which the cache finds out by itself")
	flags.IntVar(&config.ValueBytes, "value-bytes", 1024, "`bytes` of values whose trace does not say")
	flags.Float64Var(&config.Warmup, "warmup", 0.5, "part of the operations that is not counted; 0 counts all")
	flags.Uint64Var(&config.Seed, "seed", 1, "start of the cache's random choices")
	flags.BoolVar(&config.NoOptimum, "no-optimum", false, "do not search for the best static choice")
	asJSON := flags.Bool("json", false, "print JSON")
	flags.StringSliceVar(&config.Policies, "policies", nil, "`policies` to compare over cache sizes (default adaptive,paper)")
	sizes := flags.StringSlice("cache-sizes", nil, "`sizes` of the cache to compare (default nine, each double the last, up to --cache-bytes)")
	plot := flags.String("plot", "", "`file` for the curves of round trips over cache sizes, .png or .svg")
	flags.IntVar(&config.Workers, "workers", 0, "replays at a time when comparing (default: processors); 1 for speeds that compare")
	c.RunE = func(c *cobra.Command, _ []string) error {
		var err error
		switch {
		case config.Trace == "":
			return usageError{fmt.Errorf("--trace: name a file or a law, such as zipf:0.99")}
		case *plot != "" && !replay.Drawable(*plot):
			return usageError{fmt.Errorf("--plot %s: want a name that ends in .png or .svg", *plot)}
		}
		if config.CacheBytes, err = byteSize("--cache-bytes", *cache); err != nil {
			return err
		}
		for _, text := range *sizes {
			size, err := byteSize("--cache-sizes", text)
			if err != nil {
				return err
			}
			config.CacheSizes = append(config.CacheSizes, size)
		}
		if config.Warmup == 0 {
			config.Warmup = -1 // 0 is the default's place
		}
		progress := newProgress(c.ErrOrStderr())
		defer progress.end()
		config.Progress = progress.update
		if *plot != "" || len(config.Policies) > 0 || len(config.CacheSizes) > 0 {
			if len(config.Policies) == 0 && c.Flags().Changed("policy") {
				config.Policies = []string{config.Policy}
			}
			return runCurves(c, config, *plot, *asJSON, progress)
		}
		report, err := replay.Run(config.Config)
		progress.end()
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.OutOrStdout(), report)
		}
		fmt.Fprint(c.OutOrStdout(), report)
		return nil
	}
	c.AddCommand(goalsCommand())
	return c
}

// byteSize reads the value of a flag.
func byteSize(flag, text string) (int, error) {
	size, err := conf.ParseByteSize(text, conf.Byte)
	if err != nil {
		return 0, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return int(size), nil
}

func printJSON(w io.Writer, report any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// runCurves compares policies over cache sizes.
func runCurves(c *cobra.Command, config replay.CurvesConfig, plot string, asJSON bool, progress *progress) error {
	reports, err := replay.Curves(c.Context(), config)
	progress.end()
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(c.OutOrStdout(), reports)
	} else {
		err = replay.WriteCurves(c.OutOrStdout(), reports)
	}
	if err != nil || plot == "" {
		return err
	}
	return replay.Draw(reports, plot)
}

func goalsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "goals", Short: "Measure the adaptive policy against the best static choice and the published policy", Args: cobra.NoArgs,
		Long: `Replays stationary, shifting, scanning and drifting traces with caches of 1/128, 1/32 and 1/8 of the data and misses of 2, 3
and 5 round trips, through the policies adaptive and paper, and prints what adaptive needs above the best static choice, and what
even a cache would need that had counted every read of every key (learnable): where that is above the goal, no policy reaches
it. Takes some ten minutes on two processors.`,
		Example: `  dinomo replay goals --json goals.json
  dinomo replay goals --only zipf:0.99 --ops 40000000`,
	}
	var config replay.GoalsConfig
	flags := c.Flags()
	flags.Uint64Var(&config.Keys, "keys", 200_000, "`number` of keys")
	flags.IntVar(&config.ValueBytes, "value-bytes", 1024, "`bytes` of each value")
	flags.Uint64Var(&config.Ops, "ops", 4_000_000, "`operations` of each trace; the second half is counted")
	flags.Uint64Var(&config.Seed, "seed", 20_261, "start of the traces and of the cache's random choices")
	flags.StringVar(&config.Only, "only", "", "only traces whose name contains this `text`")
	flags.IntVar(&config.Workers, "workers", 0, "replays at a time (default: processors)")
	file := flags.String("json", "", "`file` for the tables as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		progress := newProgress(c.ErrOrStderr())
		defer progress.end()
		config.Progress = progress.update
		report, err := replay.Goals(c.Context(), config)
		progress.end()
		if err != nil {
			return err
		}
		if *file != "" {
			f, err := os.Create(*file)
			if err != nil {
				return err
			}
			if err := errors.Join(printJSON(f, report), f.Close()); err != nil {
				return err
			}
		}
		return report.WriteText(c.OutOrStdout())
	}
	return c
}
