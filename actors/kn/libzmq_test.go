package kn

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// libzmqPeer sends each frame (hex, a line each on standard input) to the node and prints the answer likewise. It is an
// ordinary libzmq peer with heartbeats on.
const libzmqPeer = `
import sys, zmq
context = zmq.Context()
answers = context.socket(zmq.PULL)
answers.bind(sys.argv[2])
requests = context.socket(zmq.PUSH)
requests.setsockopt(zmq.HEARTBEAT_IVL, 50)
requests.connect(sys.argv[1])
answers.RCVTIMEO = 15000
for line in sys.stdin:
    requests.send(bytes.fromhex(line.strip()))
    print(answers.recv().hex(), flush=True)
context.destroy(linger=0)
`

// TestLibzmqPeerGetsAnnasBytes: over libzmq, the answers to a put and a get are the bytes that Anna sends.
func TestLibzmqPeerGetsAnnasBytes(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-zmq is missing: %v", err)
		}
		t.Skip("python3-zmq is missing; install it to run this test")
	}
	r := newRig(t, "tcp")
	o := r.nodeOptions(0)
	o.Threads = 1
	n := r.start(o)
	m := r.swap(r.spec(n))
	r.client().ready(m)
	at, mine := owner(t, m, "k"), fmt.Sprintf("tcp://%s:6800", r.ip(70))
	request := func(kind messages.RequestType, id string, tuple *messages.KeyTuple) string {
		return hex.EncodeToString(messages.AppendKeyRequest(nil, &messages.KeyRequest{
			Type: kind, Tuples: []*messages.KeyTuple{tuple}, ResponseAddress: mine, RequestId: id,
		}))
	}
	value := &messages.KeyTuple{Key: "k", LatticeType: messages.LatticeType_LWW, Payload: []byte("\x08\x07\x12\x01v"), AddressCacheSize: 1}
	input := []string{
		request(messages.RequestType_PUT, "127.0.0.1:0_1", value),
		request(messages.RequestType_GET, "127.0.0.1:0_3", &messages.KeyTuple{Key: "k", AddressCacheSize: 1}),
		request(messages.RequestType_GET, "127.0.0.1:0_4", &messages.KeyTuple{Key: "none", AddressCacheSize: 1}),
	}
	want := []string{
		"080212050a016b10011a0d3132372e302e302e313a305f31",               // captured from Anna
		"0801120c0a016b1001220508071201761a0d3132372e302e302e313a305f33", // captured from Anna
		"080112080a046e6f6e6518011a0d3132372e302e302e313a305f34",         // no such key
	}
	cmd := exec.Command(python, "-c", libzmqPeer, at, mine)
	cmd.Stdin = strings.NewReader(strings.Join(input, "\n") + "\n")
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("libzmq peer: %v", err)
	}
	got := strings.Fields(string(out))
	if len(got) != len(want) {
		t.Fatalf("%d answers: %q", len(got), got)
	}
	for i := range want {
		mustBe(t, got[i], want[i])
	}
}
