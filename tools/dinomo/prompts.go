package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/conf"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
	"github.com/dinomo-kv/dinomo/tools/cli"
	"github.com/dinomo-kv/dinomo/tools/trigger"
)

// triggerOptions makes the options of who commands benchmark nodes.
func triggerOptions(c *conf.Config, plan messages.Plan) trigger.Options {
	return trigger.Options{
		Benchmarks: c.Trigger.Benchmark, Threads: 0, Management: c.Trigger.Management, IP: c.User.IP, Plan: plan, Logf: quiet,
	}
}

func triggerCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "trigger [COMMAND...]", Short: "Send commands to the benchmark nodes", GroupID: "tool",
		Long: "Carries out the commands given, or those typed or piped in, one a line:\n\n" + command.Help(),
		Example: `  dinomo trigger LOAD:10000:64:2:1 RUN:0.95:10000:64:1:5:0.99:32
  dinomo trigger --network 127.0.20.0/24 FAIL:1
  BENCH_IPS=10.0.0.20 MGMT_IPS=10.0.0.1 PRIVATE_IP=10.0.0.241 dinomo trigger LOAD:10000:64:2:1
  dinomo trigger --config cluster.yml < commands.txt`,
	}
	f := userFlags(c)
	noWait := c.Flags().Bool("no-wait", false, "send, and do not wait for reports: for nodes of other systems")
	asJSON := c.Flags().Bool("json", false, "print each result as a line of JSON")
	record := c.Flags().String("record", "", "`file` that gets every command that was carried out")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		plan, err := cluster.Plan(&l.Config)
		if err != nil {
			return err
		}
		o := trigger.MainOptions{
			Options: triggerOptions(&l.Config, plan), Args: args, In: c.InOrStdin(), Out: c.OutOrStdout(), Err: c.ErrOrStderr(),
			HistoryFile: historyFile("trigger"), JSON: *asJSON,
		}
		o.NoWait = *noWait
		if *noWait {
			o.Threads = l.Threads.Benchmark // nodes that do not report do not answer either
		}
		if *record != "" {
			file, err := os.OpenFile(*record, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			o.Record = file
		}
		return status(trigger.Main(c.Context(), o))
	}
	return c
}

func cliCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cli [COMMAND...]", Short: "Read and write keys", GroupID: "tool",
		Long: "Carries out the command given, or those typed or piped in, one a line:\n\n" + cli.Help(),
		Example: `  dinomo cli PUT a 1
  dinomo cli --network 127.0.20.0/24 GET a
  ROUTING_IPS=10.0.0.4 PRIVATE_IP=10.0.0.241 dinomo cli PUT a 1
  dinomo cli --config cluster.yml < script.txt`,
	}
	f := userFlags(c)
	timeout := c.Flags().Duration("timeout", 0, "of one command (default 10s)")
	c.RunE = func(c *cobra.Command, args []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		client, err := cluster.ClientOptions(&l.Config, cluster.Env{Logf: quiet})
		if err != nil {
			return err
		}
		client.AnyPort = true // several prompts may share an address
		return status(cli.Main(c.Context(), cli.Options{
			Client: client, Args: args, In: c.InOrStdin(), Out: c.OutOrStdout(), Err: c.ErrOrStderr(),
			HistoryFile: historyFile("cli"), Timeout: *timeout,
		}))
	}
	return c
}

// status turns an exit status into an error; 0 is none.
func status(n int) error {
	if n == 0 {
		return nil
	}
	return exit(n)
}

// historyFile is where a prompt keeps what was typed, "" where there is no home directory.
func historyFile(prompt string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".dinomo_"+prompt+"_history")
}
