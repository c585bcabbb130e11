package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Kind is what an operation does to its key.
type Kind string

// The kinds of operation.
const (
	Get    Kind = "get"
	Put    Kind = "put"
	Delete Kind = "delete"
	// Add adds a member, one letter, to a key that holds a set. A get of such a key reads its letters in order.
	Add Kind = "add"
	// Merge merges a letter with a vector clock into a key that holds a causal value; see Causal for what is written and read.
	// A key has puts, adds or merges, not two of them.
	Merge Kind = "merge"
)

// Outcome is how an operation ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Unknown Outcome = "unknown"
)

// Operation is one line of a history.
type Operation struct {
	Client  int     `json:"client"`
	Kind    Kind    `json:"kind"`
	Key     string  `json:"key"`
	Value   string  `json:"value,omitempty"`   // put, add: what was written; get: what was read
	Missing bool    `json:"missing,omitempty"` // get: the key was not there
	Outcome Outcome `json:"outcome"`
	Call    int64   `json:"call"`   // nanoseconds, when it was asked
	Return  int64   `json:"return"` // nanoseconds, when it ended
	Note    string  `json:"note,omitempty"`
}

// MaxLineBytes bounds a line of a history file.
const MaxLineBytes = 1 << 20

// ErrMalformed means that a history file has a line that is no operation.
var ErrMalformed = errors.New("malformed history")

// check says what is wrong with an operation.
func (o *Operation) check() error {
	switch {
	case o.Kind != Get && o.Kind != Put && o.Kind != Delete && o.Kind != Add && o.Kind != Merge:
		return fmt.Errorf("kind %q; want get, put, delete, add or merge", o.Kind)
	case o.Kind == Add && len(o.Value) != 1:
		return fmt.Errorf("a set's member is one letter, not %q", o.Value)
	case o.Kind == Merge && !isCausal(o.Value):
		return fmt.Errorf("a causal value is %d digits, a bar and letters, not %q", causalDigits, o.Value)
	case o.Outcome != OK && o.Outcome != Failed && o.Outcome != Unknown:
		return fmt.Errorf("outcome %q; want ok, failed or unknown", o.Outcome)
	case o.Return < o.Call:
		return fmt.Errorf("returned at %d, before it was called at %d", o.Return, o.Call)
	case o.Call < 0 || o.Return == math.MaxInt64:
		return fmt.Errorf("time out of range")
	case o.Missing && o.Kind != Get && o.Kind != Delete:
		return fmt.Errorf("a write cannot be missing")
	}
	return nil
}

// Read reads a history file. An error names the line.
func Read(r io.Reader) ([]Operation, error) {
	var ops []Operation
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), MaxLineBytes)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var o Operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("%w: line %d: %v", ErrMalformed, n, err)
		}
		if err := o.check(); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrMalformed, n, err)
		}
		ops = append(ops, o)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return ops, nil
}
