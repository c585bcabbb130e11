package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// Exit statuses of Main.
const (
	StatusOK     = 0
	StatusFailed = 1
	StatusUsage  = 2
)

// Options configures Main.
type Options struct {
	// Client is how to reach the cluster; Client.Routing is required.
	Client client.Options
	// Args is one command, as the shell has split it. Empty: lines from In.
	Args []string
	// In, Out and Err default to the process's own.
	In       io.Reader
	Out, Err io.Writer
	// HistoryFile keeps what a person typed.
	HistoryFile string
	// Timeout of one command (default 10 s).
	Timeout time.Duration
}

// EnsureDefaults fills the fields that are zero.
func (o *Options) EnsureDefaults() {
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
}

// shell carries out commands.
type shell struct {
	client  *client.Client
	out     io.Writer
	timeout time.Duration
}

// println prints one line of output.
func (s *shell) println(line string) { fmt.Fprintln(s.out, line) }

// Main is `dinomo cli`: it carries out the command in Args, or those that are typed or piped in, and returns the exit status.
func Main(ctx context.Context, o Options) int {
	o.EnsureDefaults()
	c, err := client.New(o.Client)
	if err != nil {
		fmt.Fprintln(o.Err, "error:", err)
		return StatusFailed
	}
	defer c.Close()
	s := &shell{client: c, out: o.Out, timeout: o.Timeout}
	if len(o.Args) > 0 {
		status := s.report(o.Err, s.do(ctx, o.Args))
		return max(status, StatusOK)
	}
	return s.repl(ctx, o)
}

// repl works through the input.
func (s *shell) repl(ctx context.Context, o Options) int {
	r := prompt.New(prompt.Options{In: o.In, Prompt: "dinomo> ", HistoryFile: o.HistoryFile, Complete: complete})
	defer r.Close()
	if r.Interactive() {
		s.println("HELP lists the commands.")
	}
	worst := StatusOK
	for ctx.Err() == nil {
		line, err := r.Line()
		if errors.Is(err, io.EOF) || errors.Is(err, prompt.ErrInterrupted) {
			break
		}
		if err != nil {
			return max(worst, s.report(o.Err, err))
		}
		words, err := prompt.Words(line)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUsage, err)
		} else if len(words) > 0 {
			err = s.do(ctx, words)
		}
		status := s.report(o.Err, err)
		if status == exiting {
			break
		}
		worst = max(worst, status)
	}
	return worst
}

// exiting is the status of EXIT; it is below all others.
const exiting = -1

// do carries out one command.
func (s *shell) do(ctx context.Context, words []string) error {
	v, err := find(words)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return v.run(s, ctx, words[1:])
}

// report prints what went wrong, a line for each key, and returns the command's status.
func (s *shell) report(w io.Writer, err error) int {
	switch {
	case err == nil:
		return StatusOK
	case errors.Is(err, errExit):
		return exiting
	}
	var several failures
	if !errors.As(err, &several) {
		several = failures{err}
	}
	for _, e := range several {
		fmt.Fprintln(w, "error:", e)
	}
	if errors.Is(err, ErrUsage) {
		return StatusUsage
	}
	return StatusFailed
}
