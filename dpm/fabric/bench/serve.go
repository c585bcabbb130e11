package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// scratchPool names every pool that bench serves: whoever asks for it cannot end up writing to a DPM's.
var scratchPool = fabric.PoolID{'f', 'a', 'b', 'r', 'i', 'c', ' ', 'b', 'e', 'n', 'c', 'h'}

// scratchPoolBytes is the size of such a pool.
const scratchPoolBytes = 64 << 20

// Serve serves a pool of scratch memory on o.Listen until the context ends, for a Run with Connect on another machine. listening is told
// the address.
func Serve(ctx context.Context, o Options, listening func(address string)) error {
	o.EnsureDefaults()
	backend, err := backends.Lookup(o.Backend, o.Backends)
	if err != nil {
		return err
	}
	if backend.Available != nil {
		return backend.Available
	}
	l, stop, err := serveScratch(backend, o.Listen)
	if err != nil {
		return err
	}
	defer stop()
	listening(l.Address())
	<-ctx.Done()
	return nil
}

// serveScratch opens a pool and a listener.
func serveScratch(backend backends.Backend, listen string) (fabric.Listener, func(), error) {
	if listen == "" {
		var err error
		if listen, err = backend.OwnAddress(); err != nil {
			return nil, nil, err
		}
	}
	region, err := pmem.NewVolatile(scratchPoolBytes)
	if err != nil {
		return nil, nil, err
	}
	l, err := backend.Listen(region, echo{}, fabric.ListenOptions{Address: listen, Path: region.Path(), Pool: scratchPool})
	if err != nil {
		return nil, nil, errors.Join(err, region.Close())
	}
	return l, func() { _ = errors.Join(l.Close(), region.Close()) }, nil
}

// echo is the service of a pool without a DPM.
type echo struct{}

// Admit implements fabric.Service.
func (echo) Admit(h fabric.Hello) (fabric.Session, error) {
	if h.Pool != (fabric.PoolID{}) && h.Pool != scratchPool {
		return fabric.Session{}, fmt.Errorf("this is a bench's pool: %w", fabric.ErrWrongPool)
	}
	return fabric.Session{Pool: scratchPool, Rank: max(h.Rank, 1), Incarnation: max(h.Incarnation, 1)}, nil
}

// Call implements fabric.Service.
func (echo) Call(_ fabric.Session, _ uint16, request, reply []byte) []byte {
	return append(reply, request...)
}

// Gone implements fabric.Service.
func (echo) Gone(fabric.Session, uint16) {}
