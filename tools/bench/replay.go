package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// maxFileCommands bounds a command file.
const maxFileCommands = 10_000

// Recording is a command file and what each of its commands did. Its JSON form is what two runs are compared by.
type Recording struct {
	// Label says what ran: a commit, a configuration.
	Label string `json:"label"`
	// Seed of the keys.
	Seed   uint64    `json:"seed"`
	Phases []Summary `json:"phases"`
}

// ReadCommands reads a command file: one command line a line, # begins a comment, empty lines do not matter. The error names
// the line.
func ReadCommands(r io.Reader) ([]command.Command, error) {
	var out []command.Command
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		c, err := command.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if out = append(out, c); len(out) > maxFileCommands {
			return nil, fmt.Errorf("line %d: more than %d commands", n, maxFileCommands)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	return out, nil
}

// Replay carries out commands one after the other and returns what they did. after, which may be nil, hears of each. A
// refused command does not end the replay; the context and an error of the runner itself do.
func Replay(ctx context.Context, r Runner, commands []command.Command, after func(Summary)) (Recording, error) {
	var out Recording
	for _, c := range commands {
		result, err := r.RunCommand(ctx, c)
		if result != nil {
			s := result.Summary()
			out.Phases = append(out.Phases, s)
			if after != nil {
				after(s)
			}
		}
		if err != nil && !errors.Is(err, ErrRefused) {
			return out, fmt.Errorf("%s: %w", c, err)
		}
	}
	return out, nil
}

// WriteTo writes the recording as JSON.
func (r Recording) WriteTo(w io.Writer) (int64, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return 0, fmt.Errorf("write recording: %w", err)
	}
	n, err := w.Write(append(b, '\n'))
	return int64(n), err
}

// ReadRecording reads what WriteTo wrote.
func ReadRecording(r io.Reader) (Recording, error) {
	var out Recording
	d := json.NewDecoder(io.LimitReader(r, 64<<20))
	if err := d.Decode(&out); err != nil {
		return out, fmt.Errorf("read recording: %w", err)
	}
	return out, nil
}

// Difference compares one command of two recordings. Ratios are second over first; 0 where the first has nothing.
type Difference struct {
	Command         string  `json:"command"`
	Throughput      Change  `json:"throughput_ops_per_second"`
	LatencyP50      Change  `json:"latency_p50_us"`
	LatencyP99      Change  `json:"latency_p99_us"`
	Failures        Change  `json:"failures"`
	OnlyIn          string  `json:"only_in,omitempty"` // a label: the other recording has another command here
	ThroughputRatio float64 `json:"throughput_ratio"`
}

// Change is a figure in two recordings.
type Change struct {
	First  float64 `json:"first"`
	Second float64 `json:"second"`
}

func (c Change) ratio() float64 {
	if c.First == 0 {
		return 0
	}
	return c.Second / c.First
}

// Compare sets two recordings side by side, command by command. Commands pair up in order; where they differ, each stands
// alone.
func Compare(first, second Recording) []Difference {
	var out []Difference
	a, b := first.Phases, second.Phases
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(a) > 0 && len(b) > 0 && a[0].Command == b[0].Command:
			out = append(out, difference(a[0], b[0]))
			a, b = a[1:], b[1:]
		case len(b) == 0 || len(a) > 0 && !hasCommand(b, a[0].Command):
			out = append(out, Difference{Command: a[0].Command, OnlyIn: orDefault(first.Label, "the first")})
			a = a[1:]
		default:
			out = append(out, Difference{Command: b[0].Command, OnlyIn: orDefault(second.Label, "the second")})
			b = b[1:]
		}
	}
	return out
}

func hasCommand(phases []Summary, line string) bool {
	for _, p := range phases {
		if p.Command == line {
			return true
		}
	}
	return false
}

func difference(a, b Summary) Difference {
	d := Difference{
		Command:    a.Command,
		Throughput: Change{a.Throughput, b.Throughput},
		LatencyP50: Change{a.Latency.P50, b.Latency.P50},
		LatencyP99: Change{a.Latency.P99, b.Latency.P99},
		Failures:   Change{float64(failures(a)), float64(failures(b))},
	}
	d.ThroughputRatio = d.Throughput.ratio()
	return d
}

func failures(s Summary) uint64 { return (&Result{Errors: s.Errors}).Failed() }

// WriteComparison prints differences as a table.
func WriteComparison(w io.Writer, firstLabel, secondLabel string, all []Difference) {
	fmt.Fprintf(w, "first: %s\nsecond: %s\n", orDefault(firstLabel, "(no label)"), orDefault(secondLabel, "(no label)"))
	fmt.Fprintf(w, "%-44s %23s %7s %19s %19s %13s\n", "command", "operations/s", "ratio", "p50 us", "p99 us", "failures")
	for _, d := range all {
		if d.OnlyIn != "" {
			fmt.Fprintf(w, "%-44s only in %s\n", d.Command, d.OnlyIn)
			continue
		}
		fmt.Fprintf(w, "%-44s %11.0f %11.0f %7.3f %9.0f %9.0f %9.0f %9.0f %6.0f %6.0f\n", d.Command, d.Throughput.First, d.Throughput.Second,
			d.ThroughputRatio, d.LatencyP50.First, d.LatencyP50.Second, d.LatencyP99.First, d.LatencyP99.Second, d.Failures.First, d.Failures.Second)
	}
}
