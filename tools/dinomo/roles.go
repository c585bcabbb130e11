package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/conf"
)

// role makes the subcommand of a node that has no flags but those of its configuration.
func role(use, short, long, example string, run func(context.Context, *conf.Loaded, cluster.Env) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Example: example, GroupID: "role", Args: cobra.NoArgs}
	f := configFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		return run(c.Context(), l, environment())
	}
	return c
}

func dpmCommand() *cobra.Command {
	return role("dpm", "Run the DPM node: the memory pool",
		`Opens the pool (dinomo.pool.path; makes one if there is none) and serves verbs and control messages
at its IP (dinomo.dpm.addresses or DPM_IPS) until it is interrupted.`,
		`  DPM_IPS=127.0.0.2 dinomo dpm --set dinomo.fabric=tcp
  dinomo dpm --config cluster.yml --set capacities.storage-cap=16GiB --set dinomo.pool.durability=fsync`, cluster.RunDPM)
}

func knCommand() *cobra.Command {
	return role("kn", "Run a KN: serve keys",
		`Attaches to the pool, joins the cluster and serves keys until it is interrupted or asked to leave. It waits for
a DPM that is not there yet, and says so.`,
		`  PRIVATE_IP=127.0.0.100 SEED_IP=127.0.0.4 ROUTING_IPS=127.0.0.4 MON_IPS=127.0.0.3 DPM_IPS=127.0.0.2 dinomo kn
  dinomo kn --config cluster.yml --set threads.memory=4 --set capacities.memory-cap=2GiB`, cluster.RunKN)
}

func routeCommand() *cobra.Command {
	return role("route", "Run a routing node: tell clients who serves which key",
		`Answers address requests, seed requests of new nodes, and notices of nodes that join or depart, until it is interrupted.`,
		`  PRIVATE_IP=127.0.0.4 MON_IPS=127.0.0.3 DPM_IPS=127.0.0.2 dinomo route --set threads.routing=2`, cluster.RunRoute)
}

func monitorCommand() *cobra.Command {
	return role("monitor", "Run an M-node: watch the cluster and reconfigure it",
		`Collects statistics, prints a summary each policy.policy-decision-period (and appends it to summaries-IP.jsonl in the data
directory), and carries out changes of ownership, until it is interrupted. Any number may run.`,
		`  PRIVATE_IP=127.0.0.3 MGMT_IP=127.0.0.1 DPM_IPS=127.0.0.2 dinomo monitor`, cluster.RunMonitor)
}

func manageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "manage", Short: "Run the management node: start and stop processes", GroupID: "role", Args: cobra.NoArgs,
		Long: `Starts and stops nodes as processes of this machine when it is asked to (add:n:kind, remove:ip:kind, fail:n:kind to its
churn port), each with an address of its own in the network of PRIVATE_IP. They end with it when it is interrupted. When it
is killed they go on, and the next management node at its address takes them over, with their restart counts, from
nodes-IP.json in the data directory (dinomo.data-dir).`,
		Example: `  PRIVATE_IP=127.0.10.1 MON_IPS=127.0.10.3 ROUTING_IPS=127.0.10.4 SEED_IP=127.0.10.4 DPM_IPS=127.0.10.2 dinomo manage --kns 2`,
	}
	f := configFlags(c)
	kns := c.Flags().Int("kns", 0, "`number` of KNs to start at once")
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		return cluster.RunManage(c.Context(), l, environment(), f.invocation(), *kns)
	}
	return c
}
