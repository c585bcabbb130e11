//go:build rdma && rdmatest && linux && cgo

package ibverbs

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/conformance"
)

// TestPair is run by test-rdma.sh pair on two machines: rank 0 serves, rank 1 runs what of the suite needs nothing but queue
// pairs, across a real wire, with either setup.
func TestPair(t *testing.T) {
	if os.Getenv("RDMA_MODE") != "pair" {
		t.Skip("part of test-rdma.sh pair")
	}
	ports := map[Setup]uint16{RDMACM: 7601, Socket: 7602}
	if os.Getenv("RANK") == "0" {
		done := make(chan error)
		for s, port := range ports {
			b := backendOf(t, s)
			b.Address = netip.AddrPortFrom(DeviceAddress(t), port).String()
			go func() { done <- conformance.Serve(b, func(address string) { t.Log("listening on", address) }) }()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		return
	}
	peer := netip.MustParseAddr(os.Getenv("PEER"))
	for _, s := range []Setup{RDMACM, Socket} {
		b := backendOf(t, s)
		b.Remote = netip.AddrPortFrom(peer, ports[s]).String()
		b.Scale = 30
		awaitListener(t, b)
		t.Run(string(s), func(t *testing.T) { conformance.Run(t, b) })
		if err := conformance.Stop(b); err != nil {
			t.Error(err)
		}
	}
}

// awaitListener waits until the other machine is up and serves.
func awaitListener(t *testing.T, b conformance.Backend) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		qp, err := b.Dialer.Dial(context.Background(), b.Remote, fabric.DialOptions{DialTimeout: 5 * time.Second})
		if err == nil {
			_ = qp.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
