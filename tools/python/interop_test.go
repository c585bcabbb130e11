package python

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
	"github.com/dinomo-kv/dinomo/messages"
)

const python = "/usr/bin/python3"

// needPython skips where Debian's pyzmq and protobuf are missing, except in CI, which has to have them. It opens the directories that
// Python and the program are made of: go test takes a result from its cache unless something has changed that the test itself has
// opened, and knows nothing of its children's files.
func needPython(t *testing.T) {
	t.Helper()
	for _, root := range []string{"..", "../../messages/testdata"} {
		_ = filepath.WalkDir(root, func(string, fs.DirEntry, error) error { return nil }) // what goes away meanwhile is no input
	}
	if out, err := exec.Command(python, "-c", "import zmq, google.protobuf").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-zmq and python3-protobuf are missing: apt-get install -y python3-zmq python3-protobuf\n%s", out)
		}
		t.Skip("python3-zmq or python3-protobuf is missing: apt-get install -y python3-zmq python3-protobuf")
	}
}

// The Python client against a stand-in of its own, and the bytes of its messages.
func TestPythonClientAlone(t *testing.T) {
	needPython(t)
	unittest(t, nil, "tests.test_client", "tests.test_wire")
}

// unittest runs Python tests with some more environment.
func unittest(t *testing.T, environment []string, tests ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python, append([]string{"-W", "error", "-m", "unittest"}, tests...)...)
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// The Python client, which is libzmq and Google's protobuf, against sockets and codec of our own.
func TestPythonClientAgainstOurSockets(t *testing.T) {
	needPython(t)
	cluster, err := clienttest.Start(clienttest.Options{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	unittest(t, []string{"DINOMO_ROUTING=" + cluster.Routing()}, "tests.test_cluster")
	if requests, _, _ := cluster.Counts(); requests == 0 {
		t.Error("no request arrived: were the tests skipped?")
	}
}

// The Go client against a server that is libzmq and Google's protobuf.
func TestGoClientAgainstLibzmq(t *testing.T) {
	needPython(t)
	cmd := exec.Command(python, "-m", "tests.serve_fake")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	routing, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Options{Routing: []string{strings.TrimSpace(routing)}, AnyPort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := c.Get(ctx, "missing"); !errors.Is(err, messages.ErrKeyDoesNotExist) {
		t.Errorf("missing: %v", err)
	}
	var pairs []client.Pair
	var keys []string
	for i := range 500 {
		keys = append(keys, fmt.Sprint("key", i))
		pairs = append(pairs, client.Pair{Key: keys[i], Value: []byte(strings.Repeat("x", i*20))})
	}
	if err := errors.Join(c.MultiPut(ctx, pairs...)...); err != nil {
		t.Fatal(err)
	}
	for i, out := range c.MultiGet(ctx, keys...) {
		if value, err := out.Value(); err != nil || len(value) != i*20 {
			t.Errorf("%s: %d bytes, %v", keys[i], len(value), err)
		}
	}
}
