package main

import (
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"

	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// progress shows how far a run is: bars on a terminal, a line a phase elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	phase    string
	bar      *progressbar.ProgressBar
}

func newProgress(out io.Writer) *progress {
	f, ok := out.(*os.File)
	return &progress{out: out, terminal: ok && prompt.IsTerminal(f)}
}

// barSteps is the resolution of a bar.
const barSteps = 1000

// update implements run.Options.Progress.
func (p *progress) update(phase string, fraction float64) {
	if phase != p.phase {
		p.end()
		p.phase = phase
		if p.terminal {
			p.bar = progressbar.NewOptions(barSteps, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(fmt.Sprintf("%-6s", phase)),
				progressbar.OptionSetWidth(40), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false))
		} else {
			fmt.Fprintf(p.out, "%s ...\n", phase)
		}
	}
	if p.bar != nil {
		_ = p.bar.Set(int(fraction * barSteps)) // a terminal that is gone ends the process by itself
	}
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
