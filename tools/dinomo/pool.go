package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/dpm/inspect"
	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// poolSubjects are the subcommands of inspect that look into the pool file itself.
var poolSubjects = []struct{ use, short, example string }{
	{"pool", "Show a pool's layout, roots, metadata records and ranks", "  dinomo inspect pool --path dinomo-data/pool.dinomo"},
	{"segments", "List segments with owner, generation, watermark and live bytes", "  dinomo inspect segments --json"},
	{"index", "Show how full the index is and what a lookup costs", "  dinomo inspect index"},
	{"entry KEY|@OFFSET", "Show the entry of a key, or the one at an offset", "  dinomo inspect entry user42\n  dinomo inspect entry @0x840000"},
	{"verify", "Check everything that anybody may yet read, and say where damage is", "  dinomo inspect verify --path backup.pool"},
}

// poolCommands makes the subcommands of inspect that read a pool file, of a DPM that runs or of none.
func poolCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, s := range poolSubjects {
		subject, _, takesEntry := strings.Cut(s.use, " ")
		c := &cobra.Command{Use: s.use, Short: s.short, Example: s.example, Args: cobra.NoArgs}
		if takesEntry {
			c.Args = cobra.ExactArgs(1)
		}
		f := configFlags(c)
		path := c.Flags().String("path", "", "the pool's `file` (default: that of the configuration)")
		asJSON := c.Flags().Bool("json", false, "print JSON")
		c.RunE = func(c *cobra.Command, args []string) error {
			l, done, err := f.load(c.OutOrStdout())
			if err != nil || done {
				return err
			}
			command := inspect.Command{Path: *path, Subject: subject, JSON: *asJSON}
			if command.Path == "" {
				command.Path = l.PoolPath()
			}
			if takesEntry {
				command.Entry = args[0]
			}
			return inspectPool(c.Context(), c, command)
		}
		all = append(all, c)
	}
	return all
}

// inspectPool runs one command; what it found is its exit status.
func inspectPool(ctx context.Context, c *cobra.Command, command inspect.Command) error {
	if f, ok := c.ErrOrStderr().(*os.File); ok && prompt.IsTerminal(f) && command.Subject == "verify" {
		bar := newProgress(f)
		command.Progress = func(done float64) { bar.update("verify", done) }
		defer bar.end()
	}
	found, err := inspect.Run(ctx, command, c.OutOrStdout())
	switch {
	case errors.Is(err, inspect.ErrUsage):
		return usageError{err}
	case err != nil:
		return fmt.Errorf("%w (--path says which file)", err)
	}
	return status(int(found))
}
