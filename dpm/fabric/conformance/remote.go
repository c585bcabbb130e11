package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Serve runs a listener for suites elsewhere (Backend.Remote) until one of them calls Stop. listening is told the address.
func Serve(b Backend, listening func(address string)) error {
	memory, err := pmem.NewVolatile(longPoolBytes)
	if err != nil {
		return err
	}
	s := newService()
	zero := make([]byte, 1<<20)
	s.reset = func() {
		for at := uint64(0); at < longPoolBytes; at += uint64(len(zero)) {
			memory.Write(at, zero[:min(uint64(len(zero)), longPoolBytes-at)])
		}
	}
	l, err := b.Listen(newTestRegion(memory), s, fabric.ListenOptions{Address: b.Address, Path: memory.Path()})
	if err != nil {
		return errors.Join(err, memory.Close())
	}
	listening(l.Address())
	<-s.gate
	clock.Real{}.Sleep(grace)
	return errors.Join(l.Close(), memory.Close())
}

// grace lets the answer to Stop's call leave before the listener does.
const grace = 200 * time.Millisecond

// Stop ends a Serve.
func Stop(b Backend) error {
	qp, err := b.Dialer.Dial(context.Background(), b.Remote, dialOptions())
	if err != nil {
		return err
	}
	defer qp.Close()
	if _, err := qp.Call([]byte{callStop}, nil); err != nil {
		return fmt.Errorf("stop the remote listener: %w", err)
	}
	return nil
}
