package python

import (
	"os"
	"os/exec"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
)

const python = "/usr/bin/python3"

// needPython skips where Debian's pyzmq and protobuf are missing, except in CI, which has to have them.
func needPython(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import zmq, google.protobuf").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-zmq and python3-protobuf are missing: apt-get install -y python3-zmq python3-protobuf\n%s", out)
		}
		t.Skip("python3-zmq or python3-protobuf is missing: apt-get install -y python3-zmq python3-protobuf")
	}
}

// The Python client, which is libzmq and Google's protobuf, against sockets and codec of our own.
func TestPythonClientAgainstOurSockets(t *testing.T) {
	needPython(t)
	cluster, err := clienttest.Start(clienttest.Options{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cmd := exec.Command(python, "-W", "error", "-m", "unittest", "tests.test_cluster")
	cmd.Env = append(os.Environ(), "DINOMO_ROUTING="+cluster.Routing(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if requests, _, _ := cluster.Counts(); requests == 0 {
		t.Error("no request arrived: were the tests skipped?")
	}
}
