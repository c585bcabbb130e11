package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster/run"
	"github.com/dinomo-kv/dinomo/tools/bench/figures"
)

func figuresCommand() *cobra.Command {
	var report, file string
	c := &cobra.Command{
		Use: "figures [flags] FILE...", Short: "Show what benchmarks printed as tables, with the goals", GroupID: "tool", Args: cobra.MinimumNArgs(1),
		Long: `Reads what "go test -bench" printed and the report of a run, and shows the figures that are promised, each with its goal. "make
bench" runs the benchmarks and calls it.`,
		Example: `  dinomo figures --run report.json --json figures.json benchmarks.txt`,
		RunE: func(c *cobra.Command, paths []string) error {
			r, err := readFigures(paths, report)
			if err != nil {
				return err
			}
			err = r.WriteText(c.OutOrStdout())
			if file != "" {
				err = errors.Join(err, r.WriteJSON(file))
			}
			return err
		},
	}
	c.Flags().StringVar(&report, "run", "", "`file` that dinomo run --report wrote")
	c.Flags().StringVar(&file, "json", "", "`file` for the figures as JSON")
	return c
}

func readFigures(paths []string, report string) (*figures.Report, error) {
	s := figures.Samples{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		err = s.Read(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	r := &figures.Report{Commit: revision(), Machine: run.ThisMachine()}
	var err error
	if r.Figures, err = figures.Of(s); err != nil {
		return nil, err
	}
	if report != "" {
		r.Run, err = figures.ReadRun(report)
	}
	return r, err
}
