//go:build rdma && rdmatest && linux && cgo

package ibverbs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// serveVariable makes this test binary a DPM of its own: "FABRIC ADDRESS PATH PERSIST".
const serveVariable = "RDMA_TEST_SERVE"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(serveVariable); arguments != "" {
		fmt.Fprintln(os.Stderr, "server:", serveProcess(strings.Split(arguments, " ")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serveProcess opens or makes the pool, prints the address and serves until its standard input ends.
func serveProcess(arguments []string) error {
	backend, address, path, persist := arguments[0], arguments[1], arguments[2], Persist(arguments[3])
	region, err := openRegion(path)
	if err != nil {
		return err
	}
	lo := fabric.ListenOptions{Address: address, Path: path, Logf: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	var l fabric.Listener
	switch backend {
	case "tcp":
		l, err = tcp.Listen(region, host{}, lo)
	case "shm":
		l, err = shm.Listen(region, host{}, lo)
	default:
		o := testOptions(Setup(backend))
		o.Persist = persist
		l, err = Listen(region, host{}, lo, o)
	}
	if err != nil {
		return err
	}
	fmt.Println(l.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// openRegion opens a pool for the durability that its place allows; "" is volatile.
func openRegion(path string) (*pmem.File, error) {
	if path == "" {
		return pmem.NewVolatile(poolBytes)
	}
	o := pmem.Options{Path: path, Durability: pmem.DAX}
	region, err := pmem.Open(o)
	if errors.Is(err, os.ErrNotExist) {
		return pmem.Create(poolBytes, o)
	}
	return region, err
}

// startServer runs serveProcess in a process that is killed at the end of the test at the latest.
func startServer(t *testing.T, backend, address, path string, persist Persist) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+strings.Join([]string{backend, address, path, string(persist)}, " "))
	cmd.Stderr = os.Stderr
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
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the server's process said nothing: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestServerKilled: queue pairs to a DPM that dies break by themselves, idle or in use, and their owners dial
// its successor at the same address.
func TestServerKilled(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		address := netip.AddrPortFrom(DeviceAddress(t), 7500).String()
		server, at := startServer(t, string(s), address, "", ByProcessor)
		idle, busy := mustDial(t, s, at, fabric.Hello{Rank: 1}), mustDial(t, s, at, fabric.Hello{Rank: 2})
		broken := make(chan error, 1)
		go func() {
			v := []fabric.Verb{{Kind: fabric.FetchAdd, Address: 64, Swap: 1}}
			for {
				if err := busy.Post(v); err != nil {
					broken <- err
					return
				}
			}
		}()
		kill(t, server)
		if err := <-broken; !errors.Is(err, fabric.ErrBroken) {
			t.Errorf("a busy queue pair: %v, want %v", err, fabric.ErrBroken)
		}
		v := []fabric.Verb{{Kind: fabric.FetchAdd, Address: 64}}
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if err := idle.Post(v); errors.Is(err, fabric.ErrBroken) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if time.Now().After(end) {
				t.Fatal("an idle queue pair outlives the DPM")
			}
		}
		_, _ = startServer(t, string(s), address, "", ByProcessor)
		again := mustDial(t, s, address, fabric.Hello{Rank: 1})
		if err := again.Post(v); err != nil {
			t.Errorf("the successor: %v", err)
		}
	})
}

// TestClientKilled: the listener learns that a peer's process has died.
func TestClientKilled(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		l, _ := serve(t, s)
		cmd := exec.Command(os.Args[0], "-test.run=TestHoldQueuePair")
		cmd.Env = append(os.Environ(), "RDMA_TEST_HOLD="+string(s)+" "+l.Address())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "holding") {
			t.Fatalf("the client's process said %q, %v", line, err)
		}
		if m := l.Metrics(); m.Connections != 1 {
			t.Errorf("metrics: %s", m)
		}
		kill(t, cmd)
		for end := time.Now().Add(time.Minute); l.Metrics().Connections != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the listener does not notice")
			}
		}
	})
}

// TestHoldQueuePair is TestClientKilled's other process.
func TestHoldQueuePair(t *testing.T) {
	s, address, ok := strings.Cut(os.Getenv("RDMA_TEST_HOLD"), " ")
	if !ok {
		t.Skip("part of TestClientKilled")
	}
	qp, err := Dialer{testOptions(Setup(s))}.Dial(context.Background(), address, fabric.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Swap: 1}}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("holding")
	select {}
}

// TestLockedMemory: a user who may not lock as much memory as the pool has is told so.
func TestLockedMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		t.Fatal(err)
	}
	limited := unix.Rlimit{Cur: 64 << 10, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limited); err != nil { // root itself is not limited
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old) }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+strings.Join([]string{string(Socket), anyPort(t), "", string(ByProcessor)}, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "raise the limit of locked memory: ulimit -l unlimited") {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

// TestOtherFabric: a dialler and a listener of different fabrics or set-ups fail at once, and the error says what to compare.
func TestOtherFabric(t *testing.T) {
	region, err := pmem.NewVolatile(poolBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	byTCP, err := tcp.Listen(region, host{}, fabric.ListenOptions{Address: anyPort(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer byTCP.Close()
	byCM, _ := serve(t, RDMACM)
	bySocket, _ := serve(t, Socket)
	for _, test := range []struct {
		name   string
		dialer fabric.Dialer
		at     fabric.Listener
		text   string
	}{
		{"cm to tcp", Dialer{testOptions(RDMACM)}, byTCP, "with fabric ibverbs and the same setup?"},
		{"socket to tcp", Dialer{testOptions(Socket)}, byTCP, "with fabric ibverbs and the same setup?"},
		{"socket to cm", Dialer{testOptions(Socket)}, byCM, "with fabric ibverbs and the same setup?"},
		{"cm to socket", Dialer{testOptions(RDMACM)}, bySocket, "with fabric ibverbs and the same setup?"},
		{"tcp to cm", tcp.Dialer{}, byCM, "with fabric tcp?"},
		{"tcp to socket", tcp.Dialer{}, bySocket, "does not speak the fabric protocol"},
	} {
		qp, err := test.dialer.Dial(t.Context(), test.at.Address(), fabric.DialOptions{DialTimeout: time.Minute})
		if err == nil {
			_ = qp.Close()
		}
		if err == nil || errors.Is(err, fabric.ErrTimeout) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %q", test.name, err, test.text)
		}
		t.Logf("%s: %v", test.name, err)
	}
}
