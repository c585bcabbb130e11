package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/cluster/sim"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// simFlags are those of `dinomo sim`.
type simFlags struct {
	options sim.Options
	seeds   int
	json    bool
	verbose bool
	calm    bool
	history string
	changed func() []string // the flags that were given and belong to a replay, as arguments
}

func simCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "sim", Short: "Simulate a whole cluster under faults, on virtual time and from a seed", GroupID: "cluster", Args: cobra.NoArgs,
		Long: `Runs a cluster (pool, KNs, routing nodes, M-nodes, clients) in one goroutine on virtual time, breaks it at random, heals it, and
checks what clients saw: the history is linearizable, nobody serves a key that is another's, every key is served again,
the pool's accounts add up. The code is that of the real nodes; network, verbs, clock and the pool's memory are simulated.

The same seed and the same commit give the same history. The first seed that fails is printed with the command that
replays it.

Exit status: 0 all passed, 1 the simulation could not be run, 2 wrong usage, 3 correctness (an invariant or the history is violated),
4 liveness (a key is not served although nothing is broken any more), 5 crash (the code under test panicked).`,
		Example: `  dinomo sim --seeds 200
  dinomo sim --seed 42 --verbose
  dinomo sim --seed 42 --faults kill-kn,pause-kn,replicate --kns 3 --json
  dinomo sim --seed 42 --history /tmp/42.jsonl`,
	}
	f := &simFlags{}
	flags, o := c.Flags(), &f.options
	flags.Uint64Var(&o.Seed, "seed", 0, "`seed`, or the first of several; 0 takes a fresh one")
	flags.IntVar(&f.seeds, "seeds", 1, "`number` of seeds, one after the other")
	flags.StringSliceVar(&o.Faults, "faults", nil, "kinds of fault that may happen, of "+strings.Join(sim.Faults(), ", ")+"; left out, each seed draws some of them")
	flags.BoolVar(&f.calm, "no-faults", false, "nothing goes wrong")
	shapeFlags(c, &o.KNs, &o.Threads, &o.Monitors, &o.Routes)
	flags.IntVar(&o.Clients, "clients", 0, "`number` of clients")
	flags.IntVar(&o.Keys, "keys", 0, "`number` of keys")
	flags.StringVar(&o.CachePolicy, "cache-policy", "", "kvs_config.cache-policy")
	flags.StringVar(&o.Fabric, "fabric", "", "`remote or mapped`: verbs travel, or KNs store into the pool's memory themselves")
	flags.IntVar(&o.Segments, "segments", 0, "`number` of 64 KiB segments in the pool")
	flags.DurationVar(&o.Safety, "safety", 0, "how long faults are made, in virtual time (default 4s)")
	flags.DurationVar(&o.Liveness, "liveness", 0, "bound on the time from healing to the service of every key, in virtual time (default 15s)")
	flags.StringVar(&f.history, "history", "", "write the history of the last seed to this `file`; dinomo check --history reads it")
	flags.BoolVar(&f.json, "json", false, "print a report for each seed, as a line of JSON")
	flags.BoolVar(&f.verbose, "verbose", false, "print what happens, with its virtual time")
	c.RunE = func(c *cobra.Command, _ []string) error { return f.run(c) }
	f.changed = func() (given []string) {
		for _, name := range []string{
			"faults", "no-faults", "kns", "threads", "monitors", "routes", "clients", "keys", "cache-policy", "fabric", "segments", "safety", "liveness",
		} {
			if flags.Changed(name) {
				given = append(given, fmt.Sprintf("--%s=%s", name, strings.Trim(flags.Lookup(name).Value.String(), "[]")))
			}
		}
		return given
	}
	return c
}

func (f *simFlags) run(c *cobra.Command) error {
	o := f.options
	if f.seeds < 1 {
		return usageError{fmt.Errorf("--seeds %d: want at least 1", f.seeds)}
	}
	if o.Seed == 0 {
		o.Seed = random.FreshSeed() % 1_000_000_000 // short enough to be copied by hand
	}
	if f.calm {
		o.Faults = []string{}
	}
	if f.verbose {
		o.Logf = func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
	}
	tried := o
	tried.EnsureDefaults()
	if err := tried.Validate(); err != nil {
		return usageError{err}
	}
	progress := newProgress(c.ErrOrStderr())
	began := clock.Real{}.Now()
	var last *sim.Report
	done := 0
	err := sim.RunSeeds(c.Context(), o, f.seeds, func(r *sim.Report) bool {
		last, done = r, done+1
		if f.json {
			if text, err := json.Marshal(r); err == nil {
				fmt.Fprintf(c.OutOrStdout(), "%s\n", text)
			}
		} else if f.seeds > 1 {
			progress.update(fmt.Sprintf("%d seeds from %d", f.seeds, o.Seed), float64(done)/float64(f.seeds))
		}
		return r.Result == sim.Passed
	})
	progress.end()
	if err != nil {
		return err
	}
	return f.conclude(c.OutOrStdout(), last, done, clock.Real{}.Now().Sub(began))
}

// conclude says how it ended.
func (f *simFlags) conclude(out io.Writer, last *sim.Report, done int, took time.Duration) error {
	if f.history != "" {
		if err := writeHistory(f.history, last.Ops); err != nil {
			return err
		}
	}
	if !f.json {
		if last.Result == sim.Passed && done > 1 {
			fmt.Fprintf(out, "%d seeds passed in %.1f s; the last is %d\n", done, took.Seconds(), last.Seed)
		} else {
			printSimulation(out, last)
		}
	}
	if last.Result == sim.Passed {
		return nil
	}
	if !f.json {
		fmt.Fprintf(out, "replay with:\n  %s\n", f.replay(last.Seed))
	}
	return exit(last.Result.ExitCode())
}

// replay is the command that runs one seed again.
func (f *simFlags) replay(seed uint64) string {
	return strings.Join(append([]string{"dinomo sim --seed", fmt.Sprint(seed), "--verbose"}, f.changed()...), " ")
}

func printSimulation(out io.Writer, r *sim.Report) {
	fmt.Fprintf(out, "seed %d: %s\n  %s\n", r.Seed, r.Result, r.Shape)
	fmt.Fprintf(out, "  %d operations %v, %d events, %.1f s of virtual time, epoch %d, every key served %.3f s after all was healed\n",
		r.Operations, r.Outcomes, r.Events, r.VirtualSeconds, r.Epoch, r.RecoverySeconds)
	fmt.Fprintf(out, "  history %s\n", r.Hash)
	for _, v := range r.Violations {
		fmt.Fprintf(out, "  %s\n", v)
	}
}

func writeHistory(path string, ops []history.Operation) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	recorder := history.NewRecorder(file, clock.Real{})
	for _, o := range ops {
		recorder.Add(o)
	}
	err = recorder.Flush()
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// shapeFlags are the flags of a cluster that is about to be broken: dinomo sim's and dinomo check's.
func shapeFlags(c *cobra.Command, kns, threads, monitors, routes *int) {
	flags := c.Flags()
	flags.IntVar(kns, "kns", 0, "`number` of KNs at first; as of all of the shape, 0 leaves it to the seed")
	flags.IntVar(threads, "threads", 0, "request `threads` of each KN")
	flags.IntVar(monitors, "monitors", 0, "`number` of M-nodes")
	flags.IntVar(routes, "routes", 0, "`number` of routing nodes")
}
