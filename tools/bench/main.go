package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// Main is `dinomo bench`: a benchmark node that works until ctx ends. It prints where it listens, and says nothing else but
// through Options.Logf.
func Main(ctx context.Context, o Options, out io.Writer) error {
	o.EnsureDefaults()
	n, err := NewNode(o)
	if err != nil {
		return err
	}
	defer n.Close()
	fmt.Fprintf(out, "benchmark node %d of %d: commands at %s (thread 0 of %d), control at %s, seed %d\n",
		o.NodeIndex, o.Nodes, n.CommandAddress(0), o.Threads, n.ControlAddress(), o.Seed)
	return n.Run(ctx)
}

// YCSBOptions configures YCSBMain. Workload is required.
type YCSBOptions struct {
	Workload    string
	Keys        uint64        // default 100,000
	ValueBytes  int           // default 1000, as in YCSB: ten fields of 100 bytes
	Duration    time.Duration // default 10 s
	Zipf        float64       // default 0.99; negative is uniform
	Outstanding int           // of each thread; default 64
	// Load writes the keys first.
	Load bool
	Output
}

// Output says how results are shown.
type Output struct {
	Out  io.Writer // default standard output
	Err  io.Writer // errors, and a progress bar if it is a terminal; default standard error
	JSON bool      // a Recording instead of text
	// Label goes into a Recording.
	Label string
}

func (o *Output) ensureDefaults() {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
}

// YCSBMain is `dinomo bench ycsb`: it runs one workload from this process.
func YCSBMain(ctx context.Context, o Options, y YCSBOptions) error {
	keys := orDefault(y.Keys, 100_000)
	value := orDefault(y.ValueBytes, 1000)
	run := command.YCSB{Workload: y.Workload, Keys: keys, ValueBytes: value, ReportPeriod: time.Second,
		Duration: orDefault(y.Duration, 10*time.Second), Zipf: max(0, orDefault(y.Zipf, 0.99)), Outstanding: orDefault(y.Outstanding, 64)}
	checked, err := command.Parse(run.String()) // the same limits as for everybody
	if err != nil {
		return err
	}
	commands := []command.Command{checked}
	if y.Load {
		load := command.Load{Keys: keys, ValueBytes: value, ThreadsPerNode: orDefault(o.Threads, 1), Nodes: 1}
		commands = append([]command.Command{load}, commands...)
	}
	g, end, err := newHere(&o, &y.Output)
	if err != nil {
		return err
	}
	defer end()
	if !y.Load {
		within, cancel := context.WithTimeout(ctx, orDefault(o.Client.OperationTimeout, 10*time.Second))
		defer cancel()
		if err := wantKeys(within, g.threads[0], keys); err != nil {
			return err
		}
	}
	_, err = show(ctx, g, o, commands, y.Output)
	return err
}

// ErrNotLoaded: a workload was to run over keys that nobody has written.
var ErrNotLoaded = errors.New("the keys are not loaded")

// wantKeys looks for the first and the last of the keys that a workload reads. Where these are missing, hardly anything of what
// it would measure is what was wanted.
func wantKeys(ctx context.Context, t *Thread, keys uint64) error {
	names := []string{plain(1), plain(keys)}
	for i, found := range t.client.MultiGet(ctx, names...) {
		switch {
		case errors.Is(found.Err, messages.ErrKeyDoesNotExist):
			return fmt.Errorf("%w: there is no key %q; write keys 1 to %d first with --load, or give as --keys how many there are", ErrNotLoaded, names[i], keys)
		case found.Err != nil:
			return fmt.Errorf("look for key %q: %w", names[i], found.Err)
		}
	}
	return nil
}

// ReplayOptions configures ReplayMain. File is required.
type ReplayOptions struct {
	// File is a command file to carry out.
	File string
	// Save is where the recording goes. Empty: nowhere.
	Save string
	// Against is a recording to compare with. Empty: none.
	Against string
	Output
}

// ReplayMain is `dinomo bench replay`: it carries out a command file with r, or with threads of its own when r is nil, and may
// compare the run with an earlier one.
func ReplayMain(ctx context.Context, o Options, r Runner, p ReplayOptions) error {
	p.ensureDefaults()
	f, err := os.Open(p.File)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	commands, err := ReadCommands(f)
	f.Close()
	if err == nil && len(commands) == 0 {
		err = errors.New("there is no command in it")
	}
	if err != nil {
		return fmt.Errorf("replay %s: %w", p.File, err)
	}
	var before Recording
	if p.Against != "" { // before the work, so that a wrong name costs nothing
		if before, err = loadRecording(p.Against); err != nil {
			return err
		}
	}
	if r == nil {
		g, end, err := newHere(&o, &p.Output)
		if err != nil {
			return err
		}
		defer end()
		r = g
	}
	done, err := show(ctx, r, o, commands, p.Output)
	if err == nil && p.Save != "" {
		err = saveRecording(p.Save, done)
	}
	if err == nil && p.Against != "" {
		WriteComparison(p.Out, before.Label, done.Label, Compare(before, done))
	}
	return err
}

// CompareMain is `dinomo bench compare`: it sets two recordings side by side.
func CompareMain(first, second string, o Output) error {
	o.ensureDefaults()
	a, err := loadRecording(first)
	if err != nil {
		return err
	}
	b, err := loadRecording(second)
	if err != nil {
		return err
	}
	all := Compare(a, b)
	if !o.JSON {
		WriteComparison(o.Out, a.Label, b.Label, all)
		return nil
	}
	e := json.NewEncoder(o.Out)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// newHere returns threads of this process, with a progress bar where there is a terminal, and what ends both.
func newHere(o *Options, out *Output) (*Group, func(), error) {
	out.ensureDefaults()
	o.EnsureDefaults()
	end := func() {}
	if f, ok := out.Err.(*os.File); ok && prompt.IsTerminal(f) {
		bar := NewBar(f, o.Threads)
		o.Progress, end = bar.Update, bar.End
	}
	g, err := NewGroup(*o)
	if err != nil {
		end()
		return nil, nil, err
	}
	return g, func() { g.Close(); end() }, nil
}

// show carries out commands and prints what each did. Refused commands and failed operations make it return an error in the end.
func show(ctx context.Context, r Runner, o Options, commands []command.Command, out Output) (Recording, error) {
	out.ensureDefaults()
	failed := 0
	rec, err := Replay(ctx, r, commands, func(s Summary) {
		if s.Refusal != "" || failures(s) > 0 {
			failed++
		}
		if !out.JSON {
			s.WriteText(out.Out)
		}
	})
	rec.Label, rec.Seed = out.Label, o.Seed
	if out.JSON {
		if _, werr := rec.WriteTo(out.Out); werr != nil {
			err = errors.Join(err, werr)
		}
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d commands were refused or had failed operations", failed, len(commands))
	}
	return rec, err
}

func loadRecording(name string) (Recording, error) {
	f, err := os.Open(name)
	if err != nil {
		return Recording{}, fmt.Errorf("open recording: %w", err)
	}
	defer f.Close()
	r, err := ReadRecording(f)
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	r.Label = orDefault(r.Label, name)
	return r, nil
}

func saveRecording(name string, r Recording) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("save recording: %w", err)
	}
	_, err = r.WriteTo(f)
	return errors.Join(err, f.Close())
}
