package backends

import (
	"fmt"
	"strings"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Options are those of the backends that have some.
type Options struct {
	IBVerbs ibverbs.Options
}

// Backend is one way to reach a pool.
type Backend struct {
	Name   string
	Listen func(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (fabric.Listener, error)
	Dialer fabric.Dialer
	// OwnAddress returns an "ip:0" of this machine that it can listen on and dial itself.
	OwnAddress func() (string, error)
	// Available is nil when this binary can use the backend, else the reason. Whether the machine
	// can is for bench.Probe to find out.
	Available error
}

// Names lists the backends, the default first.
func Names() []string { return []string{"shm", "tcp", "ibverbs"} }

// Lookup returns the backend of that name.
func Lookup(name string, o Options) (Backend, error) {
	switch name {
	case "shm":
		return Backend{
			Name: name, Dialer: shm.Dialer{}, OwnAddress: loopback,
			Listen: func(r pmem.Region, s fabric.Service, o fabric.ListenOptions) (fabric.Listener, error) {
				return listener(shm.Listen(r, s, o))
			},
		}, nil
	case "tcp":
		return Backend{
			Name: name, Dialer: tcp.Dialer{}, OwnAddress: loopback,
			Listen: func(r pmem.Region, s fabric.Service, o fabric.ListenOptions) (fabric.Listener, error) {
				return listener(tcp.Listen(r, s, o))
			},
		}, nil
	case "ibverbs":
		return Backend{
			Name: name, Dialer: ibverbs.Dialer{Options: o.IBVerbs}, Available: ibverbs.Available(),
			OwnAddress: func() (string, error) { return ibverbs.OwnAddress(o.IBVerbs) },
			Listen: func(r pmem.Region, s fabric.Service, lo fabric.ListenOptions) (fabric.Listener, error) {
				return ibverbs.Listen(r, s, lo, o.IBVerbs)
			},
		}, nil
	}
	return Backend{}, fmt.Errorf("fabric %q: want one of %s", name, strings.Join(Names(), ", "))
}

func loopback() (string, error) { return "127.0.0.1:0", nil }

// listener keeps a nil pointer from becoming an interface that is not nil.
func listener[L fabric.Listener](l L, err error) (fabric.Listener, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}
