package messages

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Limits bounds what a Codec takes from a peer. The zero value means the defaults. The frame's own size is the
// transport's to bound.
type Limits struct {
	// MaxTuples bounds the tuples of a request or response and the keys of an address request. Default 4096: a batch
	// above it gains nothing, and an empty tuple costs a sender 2 bytes and us over 100, so that this is where it stops.
	MaxTuples int
	// MaxKeyBytes bounds a key. Default 1024, four times the longest keys in published traces; a longer key makes
	// every log entry and cache entry of it larger.
	MaxKeyBytes int
	// MaxPayloadBytes bounds a tuple's payload. Default 4 MiB, half a log segment.
	MaxPayloadBytes int
	// MaxRequestIDBytes bounds the id that is echoed. Default 256; Anna's are under 32.
	MaxRequestIDBytes int
	// MaxOwners bounds the addresses given for one key. Default 4096: 64 nodes of 64 threads.
	MaxOwners int
}

// EnsureDefaults returns l with its zero fields set.
func (l Limits) EnsureDefaults() Limits {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&l.MaxTuples, 4096)
	set(&l.MaxKeyBytes, 1024)
	set(&l.MaxPayloadBytes, 4<<20)
	set(&l.MaxRequestIDBytes, 256)
	set(&l.MaxOwners, 4096)
	return l
}

// Validate says what is wrong with l.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxTuples", l.MaxTuples}, {"MaxKeyBytes", l.MaxKeyBytes}, {"MaxPayloadBytes", l.MaxPayloadBytes},
		{"MaxRequestIDBytes", l.MaxRequestIDBytes}, {"MaxOwners", l.MaxOwners},
	} {
		if f.value < 0 {
			return fmt.Errorf("message limits: %s is %d; want a positive number, or 0 for the default", f.name, f.value)
		}
	}
	return nil
}

// Codec decodes what the request plane receives, within its limits. It holds no state besides them: one may serve
// every thread.
type Codec struct {
	limits  Limits
	payload lattice.Options
}

// NewCodec makes a codec of the given limits.
func NewCodec(limits Limits) (*Codec, error) {
	limits = limits.EnsureDefaults()
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	return &Codec{limits: limits, payload: lattice.Options{MaxPayloadBytes: limits.MaxPayloadBytes}.EnsureDefaults()}, nil
}

// Limits returns the limits in force.
func (c *Codec) Limits() Limits { return c.limits }
