package shm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/stream"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Listener admits peers that map the pool's file, and serves their calls and flushes.
type Listener struct{ *stream.Listener }

// Listen binds o.Address and starts to serve. o.Path is the file under region.
func Listen(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (*Listener, error) {
	if o.Path == "" {
		return nil, errors.New("fabric shm: no file for peers to map; give its path, or use fabric tcp")
	}
	info, err := os.Stat(o.Path)
	if err != nil {
		return nil, fmt.Errorf("fabric shm: look at the pool file: %w", err)
	}
	id, err := identityOf(info)
	if err != nil {
		return nil, fmt.Errorf("fabric shm: %w", err)
	}
	l, err := stream.Listen(region, service, o, stream.Config{
		Backend:   wire.SHM,
		FlushOnly: true,
		Greet: func(_ net.Conn, _ fabric.Hello, s *fabric.Session, _ []byte) ([]byte, error) {
			s.Path = o.Path
			return extra{id, s.Life}.encode(), nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &Listener{l}, nil
}

// Dialer makes queue pairs on mapped memory. Its zero value is ready to use.
type Dialer struct{}

// Dial implements fabric.Dialer.
func (Dialer) Dial(ctx context.Context, address string, o fabric.DialOptions) (fabric.QP, error) {
	o.EnsureDefaults()
	channel, err := stream.Dial(ctx, address, o, wire.SHM, nil)
	if err != nil {
		return nil, err
	}
	session := channel.Session()
	e, err := parseExtra(channel.Extra(), session.PoolBytes)
	if err != nil {
		return nil, errors.Join(err, channel.Close())
	}
	m, err := acquire(session, e.identity, o.Hello.Access)
	if err != nil {
		return nil, errors.Join(err, channel.Close())
	}
	channel.Watch()
	session.Life = e.life
	return &QP{channel: channel, mapping: m, words: m.words, session: session, access: o.Hello.Access}, nil
}

var (
	_ fabric.Listener = (*Listener)(nil)
	_ fabric.Dialer   = Dialer{}
)
