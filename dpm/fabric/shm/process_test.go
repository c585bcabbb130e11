package shm_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// roleVariable makes this test binary play a part of its own in another process.
const roleVariable = "SHM_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, argument, _ := strings.Cut(os.Getenv(roleVariable), " "); role {
	case "":
		os.Exit(m.Run())
	case "dpm":
		exit(serve(argument))
	case "kn":
		exit(increment(argument))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// host admits everybody.
type host struct{}

func (host) Admit(fabric.Hello) (fabric.Session, error) {
	return fabric.Session{Rank: 1, Incarnation: 1}, nil
}
func (host) Call(_ fabric.Session, _ uint16, _, reply []byte) []byte {
	return append(reply, "served"...)
}
func (host) Gone(fabric.Session, uint16) {}

const processPoolBytes = 1 << 20

// serve is a DPM: it prints its address and lives until its standard input ends. An empty path
// makes the pool volatile.
func serve(path string) error {
	var region *pmem.File
	var err error
	if path == "" {
		region, err = pmem.NewVolatile(processPoolBytes)
	} else {
		region, err = pmem.Create(processPoolBytes, pmem.Options{Path: path})
	}
	if err != nil {
		return err
	}
	l, err := shm.Listen(region, host{}, fabric.ListenOptions{Address: "127.0.0.1:0", Path: region.Path()})
	if err != nil {
		return err
	}
	fmt.Println(l.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return errors.Join(l.Close(), region.Close())
}

const increments = 20_000

// increment is a KN: it adds to the word at 64 by FETCH_ADD and to that at 128 by CAS, and checks that what it reads is whole.
func increment(address string) error {
	qp, err := shm.Dialer{}.Dial(context.Background(), address, fabric.DialOptions{Hello: fabric.Hello{Thread: fabric.SharedThread}})
	if err != nil {
		return err
	}
	defer qp.Close()
	block := make([]byte, 1024)
	stamp := uint64(os.Getpid())
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], stamp<<32|uint64(^uint32(stamp)))
	}
	read := make([]byte, len(block))
	verbs := []fabric.Verb{
		{Kind: fabric.FetchAdd, Address: 64, Swap: 1},
		{Kind: fabric.Write, Address: 4096, Buffer: block},
		{Kind: fabric.Read, Address: 4096, Buffer: read},
		{Kind: fabric.CAS, Address: 128},
	}
	for range increments {
		if err := qp.Post(verbs[:3]); err != nil {
			return err
		}
		for cas := &verbs[3]; ; cas.Expect = cas.Result {
			cas.Swap = cas.Expect + 1
			if err := qp.Post(verbs[3:]); err != nil {
				return err
			}
			if cas.Result == cas.Expect {
				cas.Expect++
				break
			}
		}
		for i := 0; i < len(read); i += 8 {
			if w := binary.LittleEndian.Uint64(read[i:]); uint32(w>>32) != ^uint32(w) {
				return fmt.Errorf("torn word %#x", w)
			}
		}
	}
	return nil
}

// process starts this binary in a role. It is killed when the test ends.
func process(t *testing.T, role string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
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
	return cmd, stdout
}

// startDPM starts a listener in another process and returns its address.
func startDPM(t *testing.T, path string) (*exec.Cmd, string) {
	t.Helper()
	cmd, out := process(t, "dpm "+path)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the DPM's process said nothing: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

// pools are the two kinds of memory that peers map.
func pools(t *testing.T, run func(t *testing.T, path string)) {
	t.Run("volatile", func(t *testing.T) { run(t, "") })
	t.Run("file", func(t *testing.T) { run(t, filepath.Join(t.TempDir(), "pool")) })
}

// TestProcesses: several processes work on one pool that a further one serves.
func TestProcesses(t *testing.T) {
	pools(t, func(t *testing.T, path string) {
		_, address := startDPM(t, path)
		var kns []*exec.Cmd
		for range 3 {
			kn, _ := process(t, "kn "+address)
			kns = append(kns, kn)
		}
		for _, kn := range kns {
			if err := kn.Wait(); err != nil {
				t.Errorf("a KN's process: %v", err)
			}
		}
		qp, err := shm.Dialer{}.Dial(context.Background(), address, fabric.DialOptions{Hello: fabric.Hello{Thread: fabric.SharedThread}})
		if err != nil {
			t.Fatal(err)
		}
		defer qp.Close()
		for _, at := range []uint64{64, 128} {
			v := []fabric.Verb{{Kind: fabric.FetchAdd, Address: at}}
			if err := qp.Post(v); err != nil || v[0].Result != 3*increments {
				t.Errorf("the word at %d is %d (%v), want %d", at, v[0].Result, err, 3*increments)
			}
		}
	})
}

// TestDPMIsKilled: the queue pair breaks by itself, the words survive in a file, and a mapping of
// the dead process' memory stays harmless.
func TestDPMIsKilled(t *testing.T) {
	pools(t, func(t *testing.T, path string) {
		dpm, address := startDPM(t, path)
		qp, err := shm.Dialer{}.Dial(context.Background(), address, fabric.DialOptions{Hello: fabric.Hello{Thread: fabric.SharedThread}})
		if err != nil {
			t.Fatal(err)
		}
		defer qp.Close()
		if err := qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: 64, Swap: 42}}); err != nil {
			t.Fatal(err)
		}
		if reply, err := qp.Call([]byte("?"), nil); err != nil || string(reply) != "served" {
			t.Errorf("call: %q, %v", reply, err)
		}
		if err := dpm.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		v := []fabric.Verb{{Kind: fabric.FetchAdd, Address: 72}}
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if err := qp.Post(v); errors.Is(err, fabric.ErrBroken) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if time.Now().After(end) {
				t.Fatal("the queue pair outlives the DPM")
			}
		}
		if path == "" {
			return
		}
		raw, err := os.ReadFile(path)
		if err != nil || binary.LittleEndian.Uint64(raw[64:]) != 42 {
			t.Errorf("the file holds %d (%v), want 42", binary.LittleEndian.Uint64(raw[64:]), err)
		}
	})
}

// TestWrongFile: a path that leads to another file here than there is refused.
func TestWrongFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool")
	region, err := pmem.Create(processPoolBytes, pmem.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	l, err := shm.Listen(region, host{}, fabric.ListenOptions{Address: "127.0.0.1:0", Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func() error {
		qp, err := shm.Dialer{}.Dial(context.Background(), l.Address(), fabric.DialOptions{})
		if err == nil {
			err = qp.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := dial(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "tcp") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, processPoolBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dial(); !errors.Is(err, fabric.ErrWrongPool) {
		t.Errorf("another file of the same name: %v, want %v", err, fabric.ErrWrongPool)
	}
	if _, err := shm.Listen(region, host{}, fabric.ListenOptions{Address: "127.0.0.1:0"}); err == nil {
		t.Error("a listener without a path")
	}
}
