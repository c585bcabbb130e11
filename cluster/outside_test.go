package cluster_test

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/messages"
)

// outsideScript changes a cluster with Anna's own messages and Dinomo's NodeJoinRequest, over libzmq: it knows nothing of ours. Its arguments
// are endpoints and the private IPs that KNs have or get. It prints a line for each step.
const outsideScript = `
import sys, time, zmq
seed, churn, notify, join, self_depart, depart, report, first, second, third, fourth = sys.argv[1:]
context = zmq.Context()

def push(to, message):
    s = context.socket(zmq.PUSH)
    s.connect(to)
    s.send(message if isinstance(message, bytes) else message.encode())
    s.close(linger=5000)

def strings(*texts):
    """A protobuf message with the fields 1, 2, ..."""
    return b"".join(bytes([n << 3 | 2, len(t)]) + t.encode() for n, t in enumerate(texts, 1))

def parsed(message):
    fields = {}
    while message:
        end = 2 + message[1]
        fields[message[0] >> 3], message = message[2:end].decode(), message[end:]
    return fields

def members():
    s = context.socket(zmq.REQ)
    s.setsockopt(zmq.RCVTIMEO, 5000)
    s.connect(seed)
    s.send_string("join")
    try:
        answer = s.recv()  # a ClusterMembership; addresses are strings in it
    except zmq.Again:
        return None
    finally:
        s.close(linger=0)
    return {ip for ip in (first, second, third, fourth) if ip.encode() in answer}

def expect(what, want):
    for _ in range(600):
        got = members()
        if got == want:
            print(what, flush=True)
            return
        time.sleep(0.1)
    sys.exit(f"{what}: members {got}, want {want}")

reports = context.socket(zmq.PULL)
reports.bind(report)
reports.RCVTIMEO = 60000
expect("two KNs", {first, second})
push(churn, "add:1:memory")
expect("a third joins", {first, second, third})
push(join, strings(report, "j1", f"MEMORY:{third}:{third}:0"))  # a NodeJoinRequest, as a joining node sends it to the others
answer = parsed(reports.recv())  # response address, response id, request id
if answer.get(2) != "j1":
    sys.exit(f"answer to the NodeJoinRequest: {answer}")
push(answer[1], strings(answer[3]))  # the NodeJoinRequestUnblock
expect("a member tells others that it joins", {first, second, third})
push(self_depart, report)
got = reports.recv_string()
if got != f"{first}_{first}_1":
    sys.exit(f"depart done: {got}")
expect("the first departs by itself", {second, third})
push(depart, f"MEMORY:{second}:{second}")
expect("the second is told to depart", {third})
push(churn, "add:1:memory")
expect("a fourth joins", {third, fourth})
push(notify, f"depart:MEMORY:{third}:{third}")
expect("the third departs by a notice", {fourth})
context.destroy(linger=0)
`

// TestOutsideScriptAddsAndRemovesNodes: all KNs of the beginning are replaced by others, and nothing is lost.
func TestOutsideScriptAddsAndRemovesNodes(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-zmq is missing: apt-get install -y python3-zmq: %v", err)
		}
		t.Skip("python3-zmq is missing; install it to run this test")
	}
	c := up(t, cluster.Topology{KNs: 2})
	cl, n := newClient(t, c), c.Topology().Network
	for i := range 200 {
		if err := cl.Put(within(t), strconv.Itoa(i), []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	address := func(ip string, s messages.Socket) string {
		t.Helper()
		a, err := c.Plan().Address(ip, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		return a.String()
	}
	out, err := exec.CommandContext(within(t), python, "-c", outsideScript,
		address(n.Route(0), messages.RouteSeed), address(n.Manage(), messages.ManageChurn), address(n.Monitor(0), messages.MonitorNotify),
		address(n.KN(0), messages.KNJoin), address(n.KN(0), messages.KNSelfDepart), address(n.KN(1), messages.KNDepart), address(n.Tool(3), messages.MonitorDepartDone),
		n.KN(0), n.KN(1), n.KN(2), n.KN(3)).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if got, err := cl.Get(within(t), strconv.Itoa(i)); err != nil || string(got) != strconv.Itoa(i) {
			t.Fatalf("key %d is %q, %v", i, got, err)
		}
	}
}
