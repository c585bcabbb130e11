//go:build rdma && linux && cgo

package ibverbs

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/stream"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// setup is one of the two ways to connect queue pairs.
type setup interface {
	net.Listener // Accept returns *endpoint
	card() *device
	way() (path, error) // of the card, by which peers come
	listen() error      // after which peers wait for serve
	serve(check func(fabric.Hello) error, logf func(string, ...any))
	finish() // after serve has ended, or without it
}

// Listener admits queue pairs and registers the pool's memory for them. It implements fabric.Listener.
type Listener struct {
	*stream.Listener
	setup    setup
	memory   *region
	loopback *loopback
}

// Listen registers the region with the card and starts to serve. Address is an address of the card's with RDMACM, any of
// the machine's with Socket.
func Listen(memory pmem.Region, service fabric.Service, lo fabric.ListenOptions, o Options) (fabric.Listener, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	lo.EnsureDefaults()
	var s setup
	var err error
	if o.Setup == Socket {
		s, err = asSetup(bindSocket(lo.Address, o))
	} else {
		s, err = asSetup(bindCM(lo.Address, o))
	}
	if err != nil {
		return nil, err
	}
	l := &Listener{setup: s}
	// First the memory, which takes its time when it is large: whoever dials meanwhile finds nobody, and tries again.
	lo.Logf("fabric ibverbs: %s pins %d MiB of the pool", s.card().name(), memory.Bytes()>>20)
	if l.memory, err = s.card().register(memory.View(0, memory.Bytes())); err != nil {
		s.finish()
		return nil, err
	}
	way, err := s.way()
	if err == nil {
		err = s.card().executesAtomics()
	}
	if err == nil {
		err = s.listen()
	}
	if err != nil {
		s.finish()
		return nil, errors.Join(err, l.memory.close())
	}
	l.loopback = &loopback{device: s.card(), path: way, options: o, memory: l.memory}
	g := grant{base: l.memory.base, rkey: l.memory.rkey, persist: o.Persist}
	l.Listener = stream.Serve(s, memory, service, lo, stream.Config{
		Backend: wire.IBVerbs, FlushOnly: true, Revocable: true,
		Greet: func(conn net.Conn, h fabric.Hello, _ *fabric.Session, _ []byte) ([]byte, error) {
			return g.encode(), conn.(*endpoint).setAccess(h.Access)
		},
		Release: func(conn net.Conn) {
			_ = conn.Close()
			<-conn.(*endpoint).destroyed // the card serves nothing of this peer's any more
		},
	})
	go s.serve(l.Judge, lo.Logf)
	return l, nil
}

func asSetup[S setup](s S, err error) (setup, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// SwapWord implements fabric.WordSwapper.
func (l *Listener) SwapWord(address, expect, swap uint64) (before uint64, err error) {
	if err := fabric.Check(fabric.CAS, address, 8, l.loopback.memory.bytes, fabric.ReadWrite); err != nil {
		return 0, fmt.Errorf("swap the word at %#x: %w", address, err)
	}
	return l.loopback.swap(address, expect, swap)
}

// Close implements fabric.Listener.
func (l *Listener) Close() error {
	first := l.memory != nil
	err := l.Listener.Close()
	if first {
		l.loopback.close()
		l.setup.finish()
		err = errors.Join(err, l.memory.close())
		l.memory = nil
	}
	return err
}

// Dialer makes queue pairs by RDMA. Its zero value takes the first card that there is.
type Dialer struct{ Options Options }

// Dial implements fabric.Dialer.
func (d Dialer) Dial(ctx context.Context, address string, do fabric.DialOptions) (fabric.QP, error) {
	o := d.Options
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	do.EnsureDefaults()
	ctx, cancel := context.WithTimeout(ctx, do.DialTimeout)
	defer cancel()
	connect := dialCM
	if o.Setup == Socket {
		connect = dialSocket
	}
	e, _, err := connect(ctx, address, do, o)
	if err != nil {
		return nil, stream.DialError(address, "is it running, with fabric ibverbs and the same setup?", err)
	}
	channel, err := stream.Attach(ctx, e, address, do, wire.IBVerbs, nil)
	if err != nil {
		return nil, err
	}
	g, err := parseGrant(channel.Extra())
	if err != nil {
		return nil, errors.Join(err, channel.Close())
	}
	return newQP(e, channel, g, do), nil
}

var (
	_ fabric.Listener    = (*Listener)(nil)
	_ fabric.WordSwapper = (*Listener)(nil)
	_ fabric.Dialer      = Dialer{}
)
