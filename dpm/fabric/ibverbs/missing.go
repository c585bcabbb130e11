//go:build !rdma || !cgo || !linux

package ibverbs

import (
	"context"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Listen returns ErrNotBuilt.
func Listen(pmem.Region, fabric.Service, fabric.ListenOptions, Options) (fabric.Listener, error) {
	return nil, ErrNotBuilt
}

// Dialer cannot dial.
type Dialer struct{ Options Options }

// Dial returns ErrNotBuilt.
func (Dialer) Dial(context.Context, string, fabric.DialOptions) (fabric.QP, error) {
	return nil, ErrNotBuilt
}

// Available returns ErrNotBuilt.
func Available() error { return ErrNotBuilt }

// OwnAddress returns ErrNotBuilt.
func OwnAddress(Options) (string, error) { return "", ErrNotBuilt }

// Probe returns nothing: Available says why.
func Probe(Options) []Finding { return nil }
