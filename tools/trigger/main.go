package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/dinomo-kv/dinomo/tools/bench"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// Exit statuses of Main.
const (
	StatusOK     = 0
	StatusFailed = 1
	StatusUsage  = 2
)

// MainOptions configures Main.
type MainOptions struct {
	Options
	// Args are command lines to carry out in order. Empty: lines from In.
	Args []string
	// In, Out and Err default to the process's own.
	In       io.Reader
	Out, Err io.Writer
	// HistoryFile keeps what a person typed.
	HistoryFile string
	// JSON prints each result as one line of JSON instead of as text.
	JSON bool
	// Record gets every line that was carried out, as a command file that bench.Replay reads. Nil: none.
	Record io.Writer
}

// Main is `dinomo trigger`: it carries out the commands in Args, or those that are typed or piped in, and returns the exit status:
// 0 all went well, 1 a command failed, 2 a line was no command. A failed command does not end a script.
func Main(ctx context.Context, o MainOptions) int {
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
	s := &session{options: o}
	if f, ok := o.Err.(*os.File); ok && prompt.IsTerminal(f) && o.Progress == nil && !o.NoWait {
		s.bar = bench.NewBar(f, 1)
		o.Progress = func(p bench.Progress) { s.bar.Update(p) }
	}
	t, err := New(o.Options)
	if err != nil {
		fmt.Fprintln(o.Err, "error:", err)
		return StatusFailed
	}
	defer t.Close()
	s.trigger = t
	if len(o.Args) == 0 {
		return s.repl(ctx)
	}
	worst := StatusOK
	for _, line := range o.Args {
		worst = max(worst, s.do(ctx, line))
	}
	return worst
}

// session is one run of Main.
type session struct {
	options MainOptions
	trigger *Trigger
	bar     *bench.Bar
}

// extra are the words of the prompt that are not sent to anybody.
var extra = []string{"HELP", "EXIT", "QUIT"}

// repl works through the input.
func (s *session) repl(ctx context.Context) int {
	r := prompt.New(prompt.Options{In: s.options.In, Prompt: "command> ", HistoryFile: s.options.HistoryFile, Complete: complete})
	defer r.Close()
	if r.Interactive() {
		fmt.Fprint(s.options.Out, command.Help())
	}
	worst := StatusOK
	for ctx.Err() == nil {
		line, err := r.Line()
		if errors.Is(err, io.EOF) || errors.Is(err, prompt.ErrInterrupted) {
			break
		}
		if err != nil {
			fmt.Fprintln(s.options.Err, "error:", err)
			return StatusFailed
		}
		if word := strings.ToUpper(strings.TrimSpace(line)); word == "EXIT" || word == "QUIT" {
			break
		}
		worst = max(worst, s.do(ctx, line))
	}
	return worst
}

func complete(beginning string) []string {
	var out []string
	for _, w := range slices.Concat(command.Words(), extra) {
		if strings.HasPrefix(w, strings.ToUpper(beginning)) {
			out = append(out, w)
		}
	}
	return out
}

// do carries out one line and returns its status. An empty line or a comment is nothing to do.
func (s *session) do(ctx context.Context, line string) int {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return StatusOK
	case strings.EqualFold(line, "HELP"):
		fmt.Fprint(s.options.Out, command.Help())
		return StatusOK
	}
	c, err := command.Parse(line)
	if err != nil {
		fmt.Fprintln(s.options.Err, "error:", err)
		return StatusUsage
	}
	if s.options.Record != nil {
		if _, err := fmt.Fprintln(s.options.Record, c); err != nil {
			fmt.Fprintln(s.options.Err, "error: record:", err)
			return StatusFailed
		}
	}
	r, err := s.trigger.RunCommand(ctx, c)
	if s.bar != nil {
		s.bar.End()
	}
	status := StatusOK
	if err != nil {
		fmt.Fprintln(s.options.Err, "error:", err)
		status = StatusFailed
	}
	s.show(c, r, err)
	return status
}

// show prints a result, when there is one.
func (s *session) show(c command.Command, r *bench.Result, err error) {
	switch {
	case r.Threads == 0 && err != nil:
	case r.Threads == 0 && !s.options.JSON:
		word := "done"
		if s.options.NoWait {
			word = "sent"
		}
		fmt.Fprintf(s.options.Out, "%s %s\n", c, word)
	case s.options.JSON:
		if b, err := json.Marshal(r.Summary()); err == nil {
			fmt.Fprintf(s.options.Out, "%s\n", b)
		}
	default:
		r.Summary().WriteText(s.options.Out)
	}
}
