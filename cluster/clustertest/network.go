package clustertest

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/dinomo-kv/dinomo/cluster"
)

// firstNetwork and lastNetwork bound the second number of the networks that tests take: 127.100.x.0/24 to 127.199.x.0/24.
const firstNetwork, lastNetwork = 100, 199

// claimPort is a port that no plan has. Who listens there at a network's last address has the network.
const claimPort = 5999

// Network returns a network that no other test has, of this test binary or of another one that runs at the same time. It
// is the test's until the test ends.
func Network(t testing.TB) cluster.Network {
	t.Helper()
	const width = lastNetwork - firstNetwork + 1
	for n := range width * 256 {
		at := (os.Getpid()*256 + n) % (width * 256) // test binaries start in different places, so that they seldom meet
		prefix := fmt.Sprintf("127.%d.%d", firstNetwork+at/256, at%256)
		claim, err := net.Listen("tcp", fmt.Sprintf("%s.254:%d", prefix, claimPort))
		if err != nil {
			continue
		}
		t.Cleanup(func() { claim.Close() })
		network, err := cluster.ParseNetwork(prefix + ".0/24")
		if err != nil {
			t.Fatal(err)
		}
		return network
	}
	t.Fatalf("no network is free from 127.%d.0.0/24 on: does the machine let a process listen on all of 127.0.0.0/8?", firstNetwork)
	return cluster.Network{}
}
