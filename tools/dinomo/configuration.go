package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/conf"
)

// configuration is the flags of every subcommand that has a configuration.
type configuration struct {
	files, set  []string
	print       bool
	printFormat string

	// Of tools and others that use a cluster without being a part of it: see userFlags.
	user    bool
	network string
	address func(cluster.Network) string
}

// configFlags adds the flags to a command.
func configFlags(c *cobra.Command) *configuration {
	f := &configuration{}
	flags := c.Flags()
	flags.StringArrayVar(&f.files, "config", nil, "configuration `file`; several are read in order, each needs only what differs")
	flags.StringArrayVar(&f.set, "set", nil, "one value, as `section.key=value`; goes before files and environment")
	flags.BoolVar(&f.print, "print-config", false, "print every value with where it came from, and end")
	flags.StringVar(&f.printFormat, "print-config-format", "text", "`text or json`, for --print-config")
	return f
}

// userFlags are configFlags for a command that uses a cluster: what the configuration and the environment do not say about
// addresses follows from --network, as for a cluster that "dinomo up" started. Any number of them may be at one address: they
// listen at free ports.
func userFlags(c *cobra.Command) *configuration {
	f := configFlags(c)
	f.user, f.address = true, func(n cluster.Network) string { return n.Tool(1) }
	c.Flags().StringVar(&f.network, "network", cluster.DefaultNetwork, "`addresses` of the local cluster, for what is not configured")
	return f
}

// invocation is what is passed on to processes that this one starts.
func (f *configuration) invocation() cluster.Invocation {
	return cluster.Invocation{Files: f.files, Set: f.set}
}

// load puts the configuration together. overrides are what other flags stand for; --set goes before them. When it was only to be
// printed, that is done and done is true.
func (f *configuration) load(out io.Writer, overrides ...string) (l *conf.Loaded, done bool, err error) {
	sources := conf.Sources{Files: f.files, Environment: os.LookupEnv, Set: append(overrides, f.set...)}
	if f.user {
		n, err := cluster.ParseNetwork(f.network)
		if err != nil {
			return nil, false, usageError{err}
		}
		sources.Defaults, sources.DefaultsFrom = n.Defaults(f.address(n)), "--network "+n.String()
	}
	l, err = conf.Load(sources)
	if err != nil {
		return nil, false, fmt.Errorf("the configuration is not usable:\n%w", err)
	}
	debug.SetGCPercent(l.Dinomo.GCPercent)
	switch {
	case !f.print:
		return l, false, nil
	case f.printFormat == "json":
		return l, true, l.PrintJSON(out)
	case f.printFormat != "text":
		return nil, false, usageError{fmt.Errorf("--print-config-format %q: want text or json", f.printFormat)}
	}
	return l, true, l.Print(out)
}

// environment returns the surroundings of a role whose log goes to the standard error output.
func environment() cluster.Env {
	return cluster.Env{Version: revision(), Logf: logger(os.Stderr)}
}

// logger returns a Logf that writes lines with the time of day.
func logger(w io.Writer) func(string, ...any) {
	return log.New(w, "", log.Ldate|log.Ltime|log.Lmicroseconds).Printf
}

// quiet drops log lines.
func quiet(string, ...any) {}
