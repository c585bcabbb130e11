package trace

import (
	"errors"
	"fmt"
	"os"
)

// Kind is what an operation does.
type Kind uint8

const (
	// Get reads a key.
	Get Kind = iota
	// Update writes a key.
	Update
	// Delete removes a key.
	Delete
)

// NoSize is the ValueBytes of an operation whose trace does not say.
const NoSize = -1

// Op is one operation.
type Op struct {
	Kind Kind
	// Key is valid until the next call of Next.
	Key []byte
	// ValueBytes is the length of the key's value, NoSize if the trace does not say.
	ValueBytes int
}

// A Source yields operations. It is used by one goroutine.
type Source interface {
	// Next fills op, or returns io.EOF after the last one.
	Next(op *Op) error
	// Close releases what the source holds.
	Close() error
}

// ErrSpec: the name of a trace is neither a file nor a law that Open knows.
var ErrSpec = errors.New("unknown trace")

// Open returns the source that a name stands for: a law such as "zipf:0.99" (see Laws), else a
// file. Opening the same name again yields the same operations.
func Open(name string) (Source, error) {
	law, isLaw, err := parseLaw(name)
	switch {
	case err != nil:
		return nil, err
	case isLaw:
		return newSynthetic(law)
	}
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q is no file, and no law: want %s", ErrSpec, name, Laws)
	}
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	s, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("trace %s: %w", name, err)
	}
	s.file = f
	return s, nil
}
