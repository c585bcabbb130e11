package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Subjects are what a Command can show.
var Subjects = []string{"pool", "segments", "index", "entry", "verify"}

// ErrUsage: the command does not say what it should.
var ErrUsage = errors.New("inspect pool|segments|index|entry|verify; entry takes a key, or @ and an offset")

// Command is one call of `dinomo inspect`.
type Command struct {
	Path    string
	Subject string // one of Subjects
	// Entry is a key, or "@" and an offset of the pool ("@0x12340", "@74560"); "@@" begins a key that begins with "@".
	Entry    string
	JSON     bool
	Clock    clock.Clock
	Progress func(done float64) // of verify
}

// report is what all subjects have in common.
type report interface{ WriteText(w io.Writer) }

// Run carries c out and writes the report to w. status is what a process exits with: StatusSound unless verify or entry found
// something or err is set.
func Run(ctx context.Context, c Command, w io.Writer) (status Status, err error) {
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	r, err := c.report(ctx)
	if err != nil {
		return StatusFailed, fmt.Errorf("inspect %s: %w", c.Subject, err)
	}
	if v, ok := r.(interface{ Status() Status }); ok {
		status = v.Status()
	}
	if !c.JSON {
		out := &keepError{w: w}
		r.WriteText(out)
		return status, out.err
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return status, encoder.Encode(r)
}

func (c *Command) report(ctx context.Context) (r report, err error) {
	if c.Subject == "verify" {
		return Verify(ctx, c.Path, VerifyOptions{Clock: c.Clock, Progress: c.Progress})
	}
	p, err := look.Open(look.Options{Path: c.Path, Clock: c.Clock})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	switch c.Subject {
	case "pool":
		return Pool(p), nil
	case "segments":
		return Segments(ctx, p)
	case "index":
		return Index(ctx, p)
	case "entry":
		return c.entry(p)
	}
	return nil, ErrUsage
}

func (c *Command) entry(p *look.Pool) (report, error) {
	key, special := strings.CutPrefix(c.Entry, "@")
	switch {
	case c.Entry == "":
		return nil, ErrUsage
	case !special || strings.HasPrefix(key, "@"):
		return EntryOfKey(p, []byte(key))
	}
	offset, err := strconv.ParseUint(key, 0, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: offset %q", ErrUsage, key)
	}
	return EntryAtOffset(p, offset)
}

// keepError remembers the first error of a writer.
type keepError struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (k *keepError) Write(b []byte) (int, error) {
	if k.err != nil {
		return 0, k.err
	}
	n, err := k.w.Write(b)
	k.err = err
	return n, err
}
