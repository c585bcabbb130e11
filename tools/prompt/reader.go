package prompt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/peterh/liner"
	"golang.org/x/sys/unix"
)

// MaxLineBytes bounds a line; a longer one is an error.
const MaxLineBytes = 64 << 20

// ErrInterrupted: the person pressed Ctrl-C.
var ErrInterrupted = errors.New("interrupted")

// Options says where lines come from.
type Options struct {
	// In is where lines come from; nil is standard input. When it is the process's standard input and a terminal, and so is
	// standard output, a person is asked, with Prompt before each line.
	In     io.Reader
	Prompt string
	// HistoryFile keeps what a person typed from one run to the next. Empty: only within this one.
	HistoryFile string
	// Complete returns the lines that a beginning may be completed to.
	Complete func(beginning string) []string
}

// Reader hands out lines. It is for one goroutine.
type Reader struct {
	options Options
	lines   *bufio.Scanner // of a script
	person  *liner.State   // at a terminal
}

// Interactive says whether in is this process's terminal, so that a person can be asked.
func Interactive(in io.Reader) bool {
	return in == os.Stdin && IsTerminal(os.Stdin) && IsTerminal(os.Stdout)
}

// IsTerminal says whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// New returns a reader. Close it.
func New(o Options) *Reader {
	if o.In == nil {
		o.In = os.Stdin
	}
	r := &Reader{options: o}
	if !Interactive(o.In) {
		r.lines = bufio.NewScanner(o.In)
		r.lines.Buffer(make([]byte, 0, 64<<10), MaxLineBytes)
		return r
	}
	r.person = liner.NewLiner()
	r.person.SetCtrlCAborts(true)
	if o.Complete != nil {
		r.person.SetCompleter(o.Complete)
	}
	if f, err := os.Open(o.HistoryFile); err == nil {
		_, _ = r.person.ReadHistory(f) // a damaged history is no reason not to work
		f.Close()
	}
	return r
}

// Interactive says whether a person is at the other end.
func (r *Reader) Interactive() bool { return r.person != nil }

// Line returns the next line. io.EOF: there are no more. ErrInterrupted: a person gave up.
func (r *Reader) Line() (string, error) {
	if r.person != nil {
		line, err := r.person.Prompt(r.options.Prompt)
		if errors.Is(err, liner.ErrPromptAborted) {
			return "", ErrInterrupted
		}
		if err == nil && line != "" {
			r.person.AppendHistory(line)
		}
		return line, err
	}
	if r.lines.Scan() {
		return r.lines.Text(), nil
	}
	if err := r.lines.Err(); err != nil {
		return "", fmt.Errorf("read a command line: %w", err)
	}
	return "", io.EOF
}

// Close restores the terminal and saves the history.
func (r *Reader) Close() error {
	if r.person == nil {
		return nil
	}
	var err error
	if r.options.HistoryFile != "" {
		err = r.saveHistory()
	}
	return errors.Join(err, r.person.Close())
}

func (r *Reader) saveHistory() error {
	f, err := os.OpenFile(r.options.HistoryFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	_, err = r.person.WriteHistory(f)
	return errors.Join(err, f.Close())
}
