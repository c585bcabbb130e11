package dpm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// TestMain runs the tests, or, when it is told to by the environment, the part of one process in TestKill9.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("DINOMO_DPM_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "dpm":
		err = actDPM()
	case "kn":
		err = actKN()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func roleBackend() backend {
	for _, b := range backends {
		if b.name == os.Getenv("DINOMO_DPM_TEST_FABRIC") {
			return b
		}
	}
	panic("no such fabric")
}

// actDPM serves a pool until it is killed.
func actDPM() error {
	durability, err := pmem.ParseDurability(os.Getenv("DINOMO_DPM_TEST_DURABILITY"))
	if err != nil {
		return err
	}
	p, err := Open(Options{Path: os.Getenv("DINOMO_DPM_TEST_POOL"), Durability: durability, LeaseLength: 50 * time.Millisecond,
		Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 200, MetadataSlotBytes: 4096, FilterBytes: 4096}})
	if err != nil {
		return err
	}
	l, err := roleBackend().listen(p, os.Getenv("DINOMO_DPM_TEST_ADDRESS"))
	if err != nil {
		return err
	}
	p.Listen(l)
	fmt.Println("serving", l.Address())
	select {}
}

// actKN puts numbered values to the keys of its thread for ever, and prints the number of each batch before it
// is committed and after it was acknowledged. It lives through restarts of the DPM.
func actKN() error {
	first, _ := strconv.Atoi(os.Getenv("DINOMO_DPM_TEST_FIRST"))
	pid := uint32(os.Getpid())
	ctx := context.Background()
	s, err := remote.Dial(ctx, remote.Options{Dialer: roleBackend().dialer, Address: os.Getenv("DINOMO_DPM_TEST_ADDRESS"),
		Identity: "10.0.0.1", PID: pid, PIDStart: ProcessStart(pid), Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	th, err := s.Thread(ctx, 0, remote.AppenderOptions{})
	if err != nil {
		return err
	}
	fmt.Println("attached")
	for n := first; ; n++ {
		fmt.Println("try", n)
		for err := putKillBatch(th, n); err != nil; err = putKillBatch(th, n) {
			if !remote.Broken(err) {
				return err
			}
			if err := th.Reconnect(ctx); err != nil { // which drops what was not committed
				return err
			}
		}
		if err := th.Commit(); err != nil {
			if err := th.Reconnect(ctx); err != nil {
				return err
			}
		}
		fmt.Println("acked", n)
	}
}

func putKillBatch(th *remote.Thread, n int) error {
	for k := range killKeys {
		err := retryBusy(func() error {
			_, err := th.Put([]byte(killKey(n, k)), []byte(value(n, 700)), latticeLWW, 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const killKeys = 5 // of a batch

// killKey returns key k of batch n: each batch overwrites half of those of an earlier one.
func killKey(n, k int) string { return fmt.Sprintf("k%d", (n*3+k)%400) }

// actor is a child process that reports on its output.
type actor struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	seen map[string]int // last number by word
	errs strings.Builder
	gone chan struct{}
}

func act(t *testing.T, role string, env ...string) *actor {
	t.Helper()
	a := &actor{cmd: exec.Command(os.Args[0]), seen: map[string]int{}, gone: make(chan struct{})}
	a.cmd.Env = append(os.Environ(), append(env, "DINOMO_DPM_TEST_ROLE="+role)...)
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.cmd.Stderr = &a.errs
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.gone)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			word, number, _ := strings.Cut(lines.Text(), " ")
			n, _ := strconv.Atoi(number)
			a.mu.Lock()
			a.seen[word] = n
			a.mu.Unlock()
		}
	}()
	t.Cleanup(a.kill)
	return a
}

// kill ends the process with SIGKILL and waits for it.
func (a *actor) kill() {
	_ = a.cmd.Process.Kill()
	<-a.gone
	_ = a.cmd.Wait()
}

func (a *actor) said(word string) (int, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, ok := a.seen[word]
	return n, ok
}

// await waits until the process has said word with at least that number.
func (a *actor) await(t *testing.T, word string, atLeast int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, ok := a.said(word); ok && n >= atLeast {
			return
		}
		select {
		case <-a.gone:
			t.Fatalf("process ended before it said %q %d: %s", word, atLeast, a.errs.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("process never said %q %d: %s", word, atLeast, a.errs.String())
		}
	}
}

// TestKill9 kills real processes, the DPM, the KN or both, again and again, and compares what is in the pool with
// what the KN had acknowledged.
func TestKill9(t *testing.T) {
	rng := random.New(random.Seed(t))
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for _, durability := range []string{"volatile", "process", "fsync"} {
		for _, b := range backends {
			t.Run(durability+"/"+b.name, func(t *testing.T) {
				address := freeAddress(t)
				pool := filepath.Join(t.TempDir(), "pool")
				env := []string{"DINOMO_DPM_TEST_POOL=" + pool, "DINOMO_DPM_TEST_ADDRESS=" + address,
					"DINOMO_DPM_TEST_FABRIC=" + b.name, "DINOMO_DPM_TEST_DURABILITY=" + durability}
				acked, tried := -1, -1
				unknown := map[int]bool{} // batches that a killed KN had not heard about
				server, kn := act(t, "dpm", env...), (*actor)(nil)
				for round := range rounds {
					if kn == nil {
						kn = act(t, "kn", append(env, fmt.Sprintf("DINOMO_DPM_TEST_FIRST=%d", tried+1))...)
					}
					kn.await(t, "acked", acked+30+rng.IntN(100))
					whom := rng.IntN(3)
					if durability == "volatile" { // the pool is the DPM's process
						whom = 1
					}
					if whom != 1 || round == rounds-1 && durability != "volatile" {
						server.kill()
					}
					if whom != 0 || round == rounds-1 {
						kn.kill()
						acked, _ = kn.said("acked")
						if tried, _ = kn.said("try"); tried > acked {
							unknown[tried] = true
						}
						kn = nil
					} else {
						acked, _ = kn.said("acked")
					}
					if whom != 1 && round < rounds-1 {
						server = act(t, "dpm", env...)
					}
				}
				if durability == "volatile" {
					checkServed(t, b, address, tried, unknown)
					return
				}
				checkKilled(t, pool, durability, tried, unknown)
			})
		}
	}
}

// checkKilled opens the pool and expects all batches up to tried, but for the unknown ones, which may be there or not.
func checkKilled(t *testing.T, path, durability string, tried int, unknown map[int]bool) {
	d, _ := pmem.ParseDurability(durability)
	p := mustOpen(t, Options{Path: path, Durability: d, MustExist: true, Workers: -1})
	expectKilled(t, tried, unknown, func(key string) (string, bool, error) {
		e, found, err := p.Get(index.KeyHash([]byte(key)), []byte(key))
		return string(e.Value), found, err
	})
	t.Logf("%d batches acknowledged, %d unknown\n%v", tried+1-len(unknown), len(unknown), p.Recovery())
	if problems := p.Audit(); len(problems) > 0 {
		t.Error(problems)
	}
}

// checkServed expects the same of a pool that is served, as a KN reads it.
func checkServed(t *testing.T, b backend, address string, tried int, unknown map[int]bool) {
	th := mustThread(t, b.attach(t, address, "10.0.0.1"), 0, remote.AppenderOptions{}) // merges what the dead left
	expectKilled(t, tried, unknown, func(key string) (string, bool, error) {
		g, err := th.Get(index.KeyHash([]byte(key)), []byte(key), 0)
		if errors.Is(err, remote.ErrNotFound) {
			return "", false, nil
		}
		return string(g.Value), err == nil, err
	})
	t.Logf("%d batches acknowledged, %d unknown", tried+1-len(unknown), len(unknown))
}

func expectKilled(t *testing.T, tried int, unknown map[int]bool, get func(key string) (value string, found bool, err error)) {
	want := map[string]map[int]bool{}
	for n := 0; n <= tried; n++ {
		for k := range killKeys {
			key := killKey(n, k)
			if !unknown[n] || want[key] == nil {
				want[key] = map[int]bool{}
				if unknown[n] {
					want[key][-1] = true
				}
			}
			want[key][n] = true
		}
	}
	for key, may := range want {
		got, found, err := get(key)
		if err != nil {
			t.Fatal(err)
		}
		n := -1
		if found {
			n, _ = strconv.Atoi(strings.TrimLeft(got[:8], "0"))
			if got != value(n, 700) {
				t.Fatalf("%s holds half a value", key)
			}
		}
		if !may[n] {
			t.Errorf("%s is of batch %d, want one of %v (tried %d, unknown %v)", key, n, may, tried, unknown)
		}
	}
}
