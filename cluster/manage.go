package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/cluster/manager/local"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/messages"
)

// RunManage runs a management node until ctx ends. It starts kns KNs at once, and passes the invocation on to what it starts.
func RunManage(ctx context.Context, l *conf.Loaded, env Env, v Invocation, kns int) error {
	env.announce("manage", l)
	o, err := managerOptions(l, env, v, kns)
	if err != nil {
		return err
	}
	m, err := manager.Start(o)
	if err != nil {
		return occupied(err)
	}
	if err := guard(ctx, l, m.HostMetrics); err != nil {
		return errors.Join(err, m.Abandon()) // its nodes are well, and the next one takes them over
	}
	return m.Close()
}

// nodesJournal is where the management node at an IP lists its nodes.
func nodesJournal(c *conf.Config, ip string) string {
	return filepath.Join(c.Dinomo.DataDirectory, "nodes-"+ip+".json")
}

func managerOptions(l *conf.Loaded, env Env, v Invocation, kns int) (manager.Options, error) {
	c := &l.Config
	plan, err := Plan(c)
	if err != nil {
		return manager.Options{}, err
	}
	if c.Dinomo.Manage.Provisioner != conf.ProvisionerLocal {
		return manager.Options{}, fmt.Errorf("the %s provisioner is not built in; use dinomo.manage.provisioner: %s",
			c.Dinomo.Manage.Provisioner, conf.ProvisionerLocal)
	}
	// The variable PRIVATE_IP says where the node is, and a configuration file where others look for it.
	ip := c.Server.PrivateIP
	if origin, ok := l.Origin("server.private_ip"); ok && origin.Layer == conf.LayerDefault && c.Server.ManagementIP != "" {
		ip = c.Server.ManagementIP
	}
	network, err := ParseNetwork(ip)
	if err != nil {
		return manager.Options{}, err
	}
	if kns < 0 || kns > MaxKNs {
		return manager.Options{}, fmt.Errorf("%d KNs: a local cluster has room for %d", kns, MaxKNs)
	}
	processes, err := localOptions(c)
	if err != nil {
		return manager.Options{}, err
	}
	processes.Journal, processes.Lifeline = nodesJournal(c, ip), local.InheritedLifeline()
	addresses := Addresses{
		Seed: c.Server.SeedIP, Manage: ip, DPM: c.DPMAddress(), Monitors: c.Server.Monitoring, Routes: c.Server.Routing,
		Benches: c.Trigger.Benchmark,
	}
	processes.Command = func(n manager.Node) ([]string, []string, error) {
		args, err := command(n, v, network, c.Bench.Nodes)
		return args, addresses.Environment(n.IP), err
	}
	processes.Free = func(n manager.Node) error { return free(plan, n) }
	o := manager.Options{
		IP: ip, Plan: plan, Monitors: c.Server.Monitoring, Addresses: freeAddresses(network, addresses),
		Mailbox: c.Dinomo.Actors.Mailbox, Transport: transportOptions(c, ip), Logf: env.logf(),
		Provisioner: func(events func(manager.Event)) (manager.Provisioner, error) {
			processes.Events = events
			return local.New(processes)
		},
	}
	for i := range kns {
		o.Initial = append(o.Initial, manager.Node{Kind: messages.KindMemory, IP: network.KN(i)})
	}
	return o, nil
}

// freeAddresses lists what new nodes may get: not the addresses of nodes that others started and the configuration names, as
// "dinomo up" does its first routing and benchmark nodes.
func freeAddresses(network Network, taken Addresses) map[messages.NodeKind][]string {
	free := network.Addresses()
	for kind, ips := range map[messages.NodeKind][]string{
		messages.KindRouting: append([]string{taken.Seed}, taken.Routes...), messages.KindBenchmark: taken.Benches,
	} {
		free[kind] = slices.DeleteFunc(free[kind], func(ip string) bool { return slices.Contains(ips, ip) })
	}
	return free
}

// sockets are those by which a node of a kind is known to be there.
var sockets = map[messages.NodeKind]messages.Socket{
	messages.KindMemory: messages.KNRequest, messages.KindRouting: messages.RouteSeed, messages.KindBenchmark: messages.BenchCommand,
}

// free says whether nobody listens where a node would.
func free(plan messages.Plan, n manager.Node) error {
	s, ok := sockets[n.Kind]
	if !ok {
		return nil
	}
	a, err := plan.Address(n.IP, s, 0)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", a.HostPort())
	if err != nil {
		return err
	}
	return l.Close()
}

// localOptions returns what provisioners of processes have in common; Command and Events are the caller's.
func localOptions(c *conf.Config) (local.Options, error) {
	binary, err := os.Executable()
	if err != nil {
		return local.Options{}, fmt.Errorf("find this program's file: %w", err)
	}
	if err := os.MkdirAll(LogDirectory(c), 0o755); err != nil {
		return local.Options{}, fmt.Errorf("make the log directory: %w", err)
	}
	return local.Options{
		Binary: binary, LogDirectory: LogDirectory(c), StopTimeout: c.Dinomo.Timeouts.Shutdown,
		MaxNodes: c.Dinomo.Manage.MaxNodes,
	}, nil
}
