package tcp

import (
	"context"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/stream"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Listener serves a region over TCP.
type Listener struct{ *stream.Listener }

// Listen binds o.Address and starts to serve region. The listener does not own the region: close
// the listener first.
func Listen(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (*Listener, error) {
	l, err := stream.Listen(region, service, o, stream.Config{Backend: wire.TCP, Revocable: true})
	if err != nil {
		return nil, err
	}
	return &Listener{l}, nil
}

// Dialer makes queue pairs over TCP. Its zero value is ready to use.
type Dialer struct{}

// Dial implements fabric.Dialer.
func (Dialer) Dial(ctx context.Context, address string, o fabric.DialOptions) (fabric.QP, error) {
	c, err := stream.Dial(ctx, address, o, wire.TCP, nil)
	if err != nil {
		return nil, err
	}
	return c, nil
}

var (
	_ fabric.Listener = (*Listener)(nil)
	_ fabric.Dialer   = Dialer{}
)
