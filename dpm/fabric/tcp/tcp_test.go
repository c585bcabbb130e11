package tcp_test

import (
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/conformance"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

var backend = conformance.Backend{
	Listen: func(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (fabric.Listener, error) {
		return tcp.Listen(region, service, o)
	},
	Dialer: tcp.Dialer{},
}

func TestConformance(t *testing.T) { conformance.Run(t, backend) }

func BenchmarkPost(b *testing.B) { conformance.Benchmark(b, backend) }
