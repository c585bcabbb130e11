package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster/manager/local"
)

// commit is set by the linker: -X main.commit=...
var commit = ""

func main() {
	if l := local.InheritedLifeline(); l != nil {
		go func() {
			l.Wait()
			os.Exit(orphaned)
		}()
	}
	// The first signal ends things in order; the second one finds nobody listening and ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := root().ExecuteContext(ctx)
	stop()
	os.Exit(exitStatus(err))
}

// orphaned is the exit status of a process that does not outlive the one that it works for.
const orphaned = 3

// exit is an exit status that somebody has explained already.
type exit int

// Error implements error.
func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that makes no sense.
type usageError struct{ error }

// exitStatus prints err, unless that was done, and returns the process's exit status.
func exitStatus(err error) int {
	var status exit
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

const rootHelp = `Dinomo: an elastic key-value store over disaggregated memory.

The original's names apply: a KN serves keys, the DPM holds the memory pool, an RN (route) knows who serves what, an
M-node (monitor) watches and reconfigures, the management node starts and stops processes.

Start a whole cluster on this machine and use it:

  dinomo up
  dinomo run            load, run and report against a cluster of its own`

// root returns the whole command tree.
func root() *cobra.Command {
	c := &cobra.Command{
		Use: "dinomo", Short: "Dinomo key-value store", Long: rootHelp, Version: version(),
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SetVersionTemplate("{{.Version}}\n")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	c.AddGroup(&cobra.Group{ID: "cluster", Title: "A cluster on this machine:"}, &cobra.Group{ID: "role", Title: "One node:"},
		&cobra.Group{ID: "tool", Title: "Tools:"})
	c.AddCommand(upCommand(), runCommand(), soakCommand(), checkCommand(), simCommand(), experimentCommand(), dpmCommand(), knCommand(), routeCommand(), monitorCommand(), manageCommand(),
		benchCommand(), triggerCommand(), cliCommand(), inspectCommand(), backupCommand(), restoreCommand(), replayCommand(), figuresCommand(), fabricCommand(), versionCommand())
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", GroupID: "tool", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), version()) },
	}
}

// revision returns the commit that the binary was built from, "unknown" when nobody said.
func revision() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	return "unknown"
}

// version is one line about the binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return "dinomo " + revision() + ", " + info.GoVersion
	}
	return "dinomo " + revision()
}
