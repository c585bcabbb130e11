package shm_test

import (
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/conformance"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

var backend = conformance.Backend{
	Listen: func(region pmem.Region, service fabric.Service, o fabric.ListenOptions) (fabric.Listener, error) {
		return shm.Listen(region, service, o)
	},
	Dialer: shm.Dialer{},
}

func TestConformance(t *testing.T) { conformance.Run(t, backend) }

func BenchmarkPost(b *testing.B) { conformance.Benchmark(b, backend) }
