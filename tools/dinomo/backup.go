package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/backup"
	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// archiveBuffer is how much of an archive is read at a time.
const archiveBuffer = 1 << 20

func backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "backup ARCHIVE", Short: "Write what a pool holds into an archive, while the cluster runs or not", GroupID: "tool", Args: cobra.ExactArgs(1),
		Long: `Every write acknowledged before the start is in the archive, unless a later one replaced or deleted it; no entry is half there. The
archive is compressed and checksummed. It gets its name when it is whole.`,
		Example: `  dinomo backup monday.dinomo --path dinomo-data/pool.dinomo
  dinomo backup --check monday.dinomo`,
	}
	f := configFlags(c)
	path := c.Flags().String("path", "", "the pool's `file` (default: that of the configuration)")
	skip := c.Flags().Bool("skip-damaged", false, "leave damaged entries out and list them, rather than give up")
	check := c.Flags().Bool("check", false, "do not write: read the whole archive and say what is in it")
	c.RunE = func(c *cobra.Command, args []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		if *check {
			return checkArchive(c.Context(), c.OutOrStdout(), args[0])
		}
		o := backup.Options{Path: *path, SkipDamaged: *skip}
		if o.Path == "" {
			o.Path = l.PoolPath()
		}
		shown := archiveProgress(c, "backup")
		defer shown.end()
		o.Progress = shown.update
		summary, err := backup.WriteFile(c.Context(), o, args[0])
		if err != nil {
			return fmt.Errorf("backup %s: %w", o.Path, err)
		}
		shown.end()
		fmt.Fprintf(c.OutOrStdout(), "%d keys, %d bytes, in %d bytes of archive, in %v\n",
			summary.Keys, summary.Bytes, summary.ArchiveBytes, summary.Duration.Round(time.Millisecond))
		for _, d := range summary.Skipped {
			fmt.Fprintf(c.OutOrStdout(), "left out: %v\n", d)
		}
		return nil
	}
	return c
}

func restoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "restore ARCHIVE", Short: "Make a new pool of an archive", GroupID: "tool", Args: cobra.ExactArgs(1),
		Long: `The pool gets its name when the whole archive was read and found sound; an archive that is damaged or cut short makes none. The
cluster that starts on it makes its own ownership map.`,
		Example: `  dinomo restore monday.dinomo --path new/pool.dinomo
  dinomo restore monday.dinomo --path new/pool.dinomo --set capacities.storage-cap=32GiB`,
	}
	f := configFlags(c)
	path := c.Flags().String("path", "", "the new pool's `file`, which must not exist (default: that of the configuration)")
	c.RunE = func(c *cobra.Command, args []string) error {
		l, done, err := f.load(c.OutOrStdout())
		if err != nil || done {
			return err
		}
		pool := dpm.Options{Path: *path, Sparse: true}
		if pool.Path == "" {
			pool.Path = l.PoolPath()
		}
		if origin, ok := l.Origin("capacities.storage-cap"); ok && origin.String() != "default" {
			pool.Bytes = uint64(l.PoolBytes()) // otherwise as large as the pool that was backed up
		}
		archive, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer archive.Close()
		shown := archiveProgress(c, "restore")
		defer shown.end()
		summary, err := backup.Restore(c.Context(), backup.RestoreOptions{
			Archive: bufio.NewReaderSize(archive, archiveBuffer), Pool: pool, Progress: shown.update,
		})
		if err != nil {
			return fmt.Errorf("restore %s: %w", args[0], err)
		}
		shown.end()
		fmt.Fprintf(c.OutOrStdout(), "%s: %d keys, %d bytes in %v\n", pool.Path, summary.Keys, summary.Bytes, summary.Duration.Round(time.Millisecond))
		if len(summary.Left) > 0 {
			fmt.Fprintf(c.OutOrStdout(), "not restored, for the new cluster makes its own: %s\n", strings.Join(summary.Left, ", "))
		}
		return nil
	}
	return c
}

// checkArchive reads an archive to its end.
func checkArchive(ctx context.Context, out io.Writer, name string) error {
	archive, err := os.Open(name)
	if err != nil {
		return err
	}
	defer archive.Close()
	summary, err := backup.Check(ctx, bufio.NewReaderSize(archive, archiveBuffer))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(out, "sound: %d keys, %d bytes, of pool %x\n", summary.Keys, summary.Bytes, summary.Header.PoolID)
	return nil
}

// shownProgress shows how far a backup or restore is, on a terminal.
type shownProgress struct {
	bar  *progress
	name string
}

func archiveProgress(c *cobra.Command, name string) *shownProgress {
	s := &shownProgress{name: name}
	if f, ok := c.ErrOrStderr().(*os.File); ok && prompt.IsTerminal(f) {
		s.bar = newProgress(f)
	}
	return s
}

func (s *shownProgress) update(p backup.Progress) {
	if s.bar != nil {
		s.bar.update(s.name, p.Done)
	}
}

func (s *shownProgress) end() {
	if s.bar != nil {
		s.bar.end()
	}
}
