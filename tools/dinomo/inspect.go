package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/messages"
)

// inspectTimeout bounds all questions of one inspection.
const inspectTimeout = 5 * time.Second

func inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "inspect", Short: "Look at a running cluster, or into a pool file", GroupID: "tool", Args: cobra.NoArgs,
		Long: `Asks the DPM for the ownership map and its own figures, and each KN for its statistics since it started. The subcommands
read the pool's file itself, whether a DPM runs or not, and change nothing.`,
		Example: `  dinomo inspect
  DPM_IPS=10.0.0.2 PRIVATE_IP=10.0.0.241 dinomo inspect
  dinomo inspect --pool --config cluster.yml`,
	}
	f := userFlags(c)
	pool := c.Flags().Bool("pool", false, "print all of the pool's figures, too")
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), inspectTimeout)
		defer cancel()
		return inspectCluster(ctx, c.OutOrStdout(), &l.Config, *pool)
	}
	c.AddCommand(poolCommands()...)
	return c
}

// inspector asks nodes and prints what they say.
type inspector struct {
	out   io.Writer
	asker *cluster.Asker
	plan  messages.Plan
}

func inspectCluster(ctx context.Context, out io.Writer, c *conf.Config, pool bool) error {
	plan, err := cluster.Plan(c)
	if err != nil {
		return err
	}
	asker, err := cluster.NewAsker(c.User.IP, nil)
	if err != nil {
		return err
	}
	defer asker.Close()
	i := inspector{out: out, asker: asker, plan: plan}
	dpm, err := plan.Address(c.DPMAddress(), messages.DPMControl, 0)
	if err != nil {
		return err
	}
	state, err := asker.Pool(ctx, dpm.String())
	if err != nil {
		return fmt.Errorf("the DPM: %w (does a cluster run? give its --network, or set DPM_IPS to where the DPM is)", err)
	}
	i.pool(state, pool)
	return i.members(ctx, dpm.String())
}

func (i inspector) pool(s *messages.PoolState, all bool) {
	n := s.GetCounters()
	fmt.Fprintf(i.out, "pool %x, durability %s, started %d times, %d of %d segments free, %d MiB live, %d entries merged\n",
		s.GetPoolId(), s.GetDurability(), s.GetServerEpoch(), n["free_segments"], n["segments"], n["live_bytes"]>>20, n["merged_entries"])
	for _, r := range s.GetRanks() {
		state := "held"
		switch {
		case r.GetFenced():
			state = "fenced"
		case r.GetProcessGone():
			state = "process gone"
		}
		fmt.Fprintf(i.out, "  rank %d: incarnation %d, %s, %s, lease word %d unchanged for %d ms, %d segments unmerged\n",
			r.GetRank(), r.GetIncarnation(), r.GetPrivateIp(), state, r.GetLeaseWord(), r.GetLeaseUnchangedMilliseconds(), r.GetUnmergedSegments())
	}
	if !all {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(i.out, "  %s %d\n", name, n[name])
	}
}

// members prints the ownership map, and what each member says of itself.
func (i inspector) members(ctx context.Context, dpm string) error {
	record, err := i.asker.Record(ctx, dpm, ownership.RecordName)
	if err != nil {
		return fmt.Errorf("the ownership map: %w", err)
	}
	if record.GetVersion() == 0 {
		fmt.Fprintln(i.out, "there is no ownership map yet: no KN has joined")
		return nil
	}
	m, err := ownership.Decode(record.GetValue(), record.GetVersion(), nil)
	if err != nil {
		return err
	}
	replicated := 0
	for range m.Replicated() {
		replicated++
	}
	fmt.Fprintf(i.out, "epoch %d: %d KNs, %d replicated keys\n", m.Epoch(), len(m.Members()), replicated)
	for _, member := range m.Members() {
		to, err := i.plan.Address(member.PrivateIP, messages.KNControl, 0)
		if err != nil {
			return err
		}
		report, err := i.asker.Statistics(ctx, to.String())
		if err != nil {
			fmt.Fprintf(i.out, "  %s: %v\n", member, err)
			continue
		}
		var sum figures.Counters
		for _, s := range report.GetThreads() {
			sum.Add(figures.Of(s))
		}
		r := sum.Ratios()
		fmt.Fprintf(i.out, "  %s: %d reads (value %.1f %%, shortcut %.1f %%, unmerged %.1f %%, miss %.1f %%), %d writes, cache %d of %d KiB, %d unmerged segments\n",
			member, sum.Reads, 100*r.ValueHit, 100*r.ShortcutHit, 100*r.UnmergedHit, 100*r.Miss, sum.Writes+sum.Deletes,
			sum.CacheBytesUsed>>10, sum.CacheBytesBudget>>10, sum.UnmergedSegments)
	}
	return nil
}
