package bench

import (
	"io"
	"sync"

	"github.com/schollz/progressbar/v3"
)

// barSteps is a bar's resolution.
const barSteps = 1000

// Bar draws one progress bar for a command that several threads carry out: the mean of how far they are. It may be fed from any
// goroutine, also with the progress of commands that are over, which it ignores.
type Bar struct {
	out     io.Writer
	threads int

	mu struct {
		sync.Mutex
		bar      *progressbar.ProgressBar
		command  string
		fraction map[int]float64
	}
}

// NewBar returns a bar for so many threads, or more when more turn up, that draws on out, which should be a terminal.
func NewBar(out io.Writer, threads int) *Bar { return &Bar{out: out, threads: max(threads, 1)} }

// Begin starts a bar for a command.
func (b *Bar) Begin(command string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begin(command)
}

// begin starts over. REQUIRES: b.mu.
func (b *Bar) begin(command string) {
	b.mu.command, b.mu.fraction = command, make(map[int]float64)
	b.mu.bar = progressbar.NewOptions64(barSteps, progressbar.OptionSetWriter(b.out), progressbar.OptionSetDescription(command),
		progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
}

// Update takes one thread's progress. The first of another command starts a new bar unless Begin has.
func (b *Bar) Update(p Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.command != p.Command {
		if b.mu.bar != nil && !b.mu.bar.IsFinished() || p.Finished {
			return
		}
		b.begin(p.Command)
	}
	b.mu.fraction[p.Thread] = p.Fraction()
	sum := 0.0
	for _, f := range b.mu.fraction {
		sum += f
	}
	_ = b.mu.bar.Set64(int64(barSteps * min(1, sum/float64(max(b.threads, len(b.mu.fraction)))))) // a terminal that is gone is no reason to stop
}

// End takes the bar away.
func (b *Bar) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.bar != nil {
		_ = b.mu.bar.Finish()
	}
	b.mu.bar, b.mu.command = nil, ""
}
