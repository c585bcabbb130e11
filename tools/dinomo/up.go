package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/conf"
)

// topologyFlags adds the flags that say which cluster to start.
func topologyFlags(c *cobra.Command) (t *cluster.Topology, network *string) {
	t = &cluster.Topology{}
	flags := c.Flags()
	network = flags.String("network", cluster.DefaultNetwork, "256 loopback `addresses`, one for each node")
	flags.IntVar(&t.KNs, "kns", 2, "`number` of KNs")
	flags.IntVar(&t.Routes, "routes", 1, "`number` of routing nodes")
	flags.IntVar(&t.Monitors, "monitors", 1, "`number` of M-nodes")
	flags.IntVar(&t.Benches, "benches", 1, "`number` of benchmark nodes")
	return t, network
}

// asConfigured takes from the configuration how many nodes there are, where no flag says it.
func asConfigured(c *cobra.Command, t *cluster.Topology, l *conf.Loaded) {
	for _, n := range []struct {
		flag, key string
		count     *int
		value     int
	}{
		{"kns", "ib_config.num_initial_memory_nodes", &t.KNs, l.IB.InitialKNs},
		{"benches", "bench_config.num-benchmark-nodes", &t.Benches, l.Bench.Nodes},
	} {
		if origin, ok := l.Origin(n.key); ok && origin.Layer != conf.LayerDefault && !c.Flags().Changed(n.flag) {
			*n.count = n.value
		}
	}
}

func upCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "up", Short: "Start a cluster on this machine and keep it running", GroupID: "cluster", Args: cobra.NoArgs,
		Long: `Starts a DPM, KNs, a routing node, an M-node, the management node and a benchmark node as processes of this machine,
each with a loopback address of its own, prints how to talk to them, and keeps them running. Ctrl-C ends them all; nothing is
left but the pool and the logs in the data directory (dinomo.data-dir).`,
		Example: `  dinomo up
  dinomo up --kns 4 --set threads.memory=4 --set dinomo.data-dir=/tmp/dinomo
  dinomo up --network 127.0.20.0/24 --set dinomo.fabric=tcp`,
	}
	f := configFlags(c)
	topology, network := topologyFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		n, err := cluster.ParseNetwork(*network)
		if err != nil {
			return usageError{err}
		}
		topology.Network, topology.Invocation = n, f.invocation()
		asConfigured(c, topology, l)
		running, err := cluster.Up(c.Context(), cluster.UpOptions{Topology: *topology, Logf: logger(c.ErrOrStderr())})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "\nThe cluster is ready; Ctrl-C ends it.\n%s", running.Guide(os.Args[0]))
		<-c.Context().Done()
		fmt.Fprintln(c.OutOrStdout(), "stopping")
		return running.Close()
	}
	return c
}
