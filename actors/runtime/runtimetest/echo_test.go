package runtimetest

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/runtime"
)

// newPull binds a socket for the test.
func newPull(tb testing.TB) *runtime.Pull {
	tb.Helper()
	p, err := runtime.ListenPull("tcp://127.0.0.1:0", runtime.PullOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// bench has our own server echo total messages of that size.
func bench(tb testing.TB, outstanding, size, total int) {
	tb.Helper()
	server, client := newPull(tb), newPull(tb)
	peers := runtime.NewPeers(runtime.PeersOptions{})
	defer peers.Close(0)
	ended := make(chan error, 1)
	to := client.Address()
	go func() { ended <- Echo(server, peers, func([]byte) string { return to }) }()
	ask(tb, server.Address(), client, outstanding, size, total)
	server.Close()
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
}

// ask drives total messages of that size through an echo server at address, which answers at client.
func ask(tb testing.TB, address string, client *runtime.Pull, outstanding, size, total int) {
	tb.Helper()
	push := runtime.NewPush(address, runtime.PushOptions{})
	defer push.Close(0)
	frame := make([]byte, size)
	got := 0
	err := Drive(push, client, outstanding, total,
		func(push *runtime.Push, _ int) error { return push.AppendBytes(frame) },
		func(f []byte) error {
			got++
			if len(f) != size {
				return fmt.Errorf("%d bytes, want %d", len(f), size)
			}
			return nil
		})
	if err != nil || got != total {
		tb.Fatalf("%d of %d answers, %v", got, total, err)
	}
}

// libzmqEcho passes on whatever comes to its PULL, inside libzmq alone, to a PUSH connected to its argument.
const libzmqEcho = `
import sys, zmq
context = zmq.Context()
requests, answers = context.socket(zmq.PULL), context.socket(zmq.PUSH)
port = requests.bind_to_random_port('tcp://127.0.0.1')
answers.connect(sys.argv[1])
print('tcp://127.0.0.1:%d' % port, flush=True)
zmq.proxy(requests, answers)
`

// startLibzmqEcho starts an echo server that answers at client, and returns its address; it skips where there is no python3-zmq.
func startLibzmqEcho(tb testing.TB, client *runtime.Pull) string {
	tb.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		tb.Skipf("%s cannot import zmq; apt-get install python3-zmq to compare with libzmq", python)
	}
	cmd := exec.Command(python, "-c", libzmqEcho, client.Address())
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("the libzmq echo does not start: %v", err)
	}
	return strings.TrimSpace(line)
}

func TestEcho(t *testing.T) {
	for _, outstanding := range []int{1, 7, 64, 5000} {
		bench(t, outstanding, 100, 3000)
	}
}

// BenchmarkEcho is the bare transport under request and response; with libzmq's server the client is still ours.
func BenchmarkEcho(b *testing.B) {
	for _, server := range []string{"ours", "libzmq"} {
		for _, outstanding := range []int{1, 16, 64, 256} {
			for _, size := range []int{64, 300, 1100, 19000} {
				b.Run(fmt.Sprintf("server=%s/outstanding=%d/size=%dB", server, outstanding, size), func(b *testing.B) {
					b.ReportAllocs()
					if server == "ours" {
						bench(b, outstanding, size, b.N)
					} else {
						client := newPull(b)
						address := startLibzmqEcho(b, client)
						ask(b, address, client, outstanding, size, 2*outstanding)
						b.ResetTimer()
						ask(b, address, client, outstanding, size, b.N)
					}
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echo/s")
				})
			}
		}
	}
}
