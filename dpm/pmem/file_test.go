package pmem

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool")
	f, err := Create(8192, Options{Path: path})
	must(t, err)
	f.Store64(0, 42)
	expect := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err = Create(8192, Options{Path: path})
	expect("create over an existing file", err, fs.ErrExist)
	_, err = Open(Options{Path: path})
	expect("open a file that is open", err, ErrLocked)
	if !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("the holder is not named: %v", err)
	}
	look, err := Open(Options{Path: path, ReadOnly: true})
	must(t, err)
	if look.Load64(0) != 42 {
		t.Error("a read-only look sees something else")
	}
	expect("fence of a read-only region", look.Fence(), ErrReadOnly)
	for name, store := range map[string]func(){
		"store": func() { look.Store64(0, 1) }, "cas": func() { look.CompareAndSwap64(0, 42, 1) },
		"add": func() { look.Add64(0, 1) }, "write": func() { look.Write(0, []byte{1}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s to a read-only region does not panic", name)
				}
			}()
			store()
		}()
	}
	must(t, look.Close())
	must(t, f.Close())
	must(t, f.Close()) // again does no harm
	_, err = Open(Options{Path: filepath.Join(dir, "absent")})
	expect("open nothing", err, fs.ErrNotExist)
	must(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	if _, err = Open(Options{Path: filepath.Join(dir, "empty")}); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("open an empty file: %v", err)
	}
	if _, err = Create(8192, Options{}); err == nil {
		t.Error("no path is accepted")
	}
	if _, err = Create(8192, Options{Path: path, Durability: Volatile}); err == nil {
		t.Error("a volatile file is accepted")
	}
	_, err = Create(1<<42, Options{Path: filepath.Join(dir, "huge")})
	expect("create more than the disk holds", err, ErrNoDiskSpace)
	if _, err := os.Stat(filepath.Join(dir, "huge")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the failed file stays: %v", err)
	}
	big, err := Create(1<<36, Options{Path: filepath.Join(dir, "sparse"), Sparse: true})
	must(t, err)
	big.Store64(1<<35, 1)
	must(t, big.Close())
}

func TestSpaceIsTakenUpFront(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "pool")
		f, err := Create(1<<20, Options{Path: path, Sparse: sparse})
		must(t, err)
		var stat unix.Stat_t
		must(t, unix.Stat(path, &stat))
		if taken := stat.Blocks*512 >= 1<<20; taken == sparse {
			t.Errorf("sparse %v: %d bytes on disk", sparse, stat.Blocks*512)
		}
		must(t, f.Close())
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(4096, Options{Path: filepath.Join(dir, "pool.new"), Durability: Fsync})
	must(t, err)
	must(t, f.Rename(filepath.Join(dir, "pool")))
	if f.Path() != filepath.Join(dir, "pool") {
		t.Error(f.Path())
	}
	must(t, f.Close())
	f, err = Open(Options{Path: filepath.Join(dir, "pool")})
	must(t, err)
	must(t, f.Close())
}

// Another process can map volatile memory by its path.
func TestVolatileIsShared(t *testing.T) {
	f, err := NewVolatile(4096)
	must(t, err)
	defer f.Close()
	peer, err := os.OpenFile(f.Path(), os.O_RDWR, 0)
	must(t, err)
	defer peer.Close()
	mem, err := unix.Mmap(int(peer.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(mem)
	f.Store64(16, 77)
	if mem[16] != 77 {
		t.Error("the peer does not see a store")
	}
	mem[24] = 5
	if f.Load64(24) != 5 {
		t.Error("a peer's store is not seen")
	}
}

func TestDAXRefusalSaysWhy(t *testing.T) {
	dir := t.TempDir()
	probe := HaveDAX(dir)
	if probe == nil {
		t.Skip("there is persistent memory here")
	}
	if !errors.Is(probe, ErrNoDAX) {
		t.Errorf("probe: %v", probe)
	}
	_, err := Create(8192, Options{Path: filepath.Join(dir, "pool"), Durability: DAX})
	if !errors.Is(err, ErrNoDAX) {
		t.Errorf("create: %v", err)
	}
	t.Logf("%v; this processor has %s", err, WriteBackInstruction())
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestParseDurability(t *testing.T) {
	for d := Volatile; d <= DAX; d++ {
		if got, err := ParseDurability(d.String()); err != nil || got != d {
			t.Errorf("%v comes back as %v, %v", d, got, err)
		}
	}
	if _, err := ParseDurability("ram"); err == nil {
		t.Error("an unknown name is accepted")
	}
}

// Fences that wait together share one write-back, and none returns before one that began after its flush.
func TestGroupCommit(t *testing.T) {
	begin, proceed := make(chan struct{}), make(chan struct{})
	g := newGroupCommit(func() error {
		begin <- struct{}{}
		<-proceed
		return nil
	})
	must(t, g.fence()) // nothing was flushed: no write-back
	var waiters sync.WaitGroup
	results := make(chan error, 100)
	fence := func() { g.flush(); waiters.Go(func() { results <- g.fence() }) }
	fence()
	<-begin // the first write-back runs
	for range 20 {
		fence()
	}
	if len(results) != 0 {
		t.Fatal("a fence returned before its write-back")
	}
	proceed <- struct{}{}
	<-begin // one more, for the 20
	if len(results) > 1 {
		t.Fatal("a fence returned on the strength of a write-back that began before its flush")
	}
	proceed <- struct{}{}
	waiters.Wait()
	if n := g.commits.Load(); n != 2 || len(results) != 21 {
		t.Errorf("%d write-backs for %d fences", n, len(results))
	}
}

// A failed write-back is final: nothing is retried as if nothing had happened.
func TestFailedWriteBackIsFinal(t *testing.T) {
	calls := 0
	g := newGroupCommit(func() error {
		calls++
		if calls == 2 {
			return unix.EIO
		}
		return nil
	})
	g.flush()
	must(t, g.fence())
	for range 3 {
		g.flush()
		if err := g.fence(); !errors.Is(err, ErrReadOnly) || !errors.Is(err, unix.EIO) {
			t.Fatalf("fence after a failure: %v", err)
		}
	}
	if calls != 2 {
		t.Errorf("%d write-backs, want 2", calls)
	}
}

const childEnv = "PMEM_TEST_CHILD_POOL"

// TestKill9 kills a process that stores and fences, and looks for all that it had reported.
func TestKill9(t *testing.T) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
	}
	for _, d := range []Durability{Process, Fsync} {
		t.Run(d.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pool")
			cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
			cmd.Env = append(os.Environ(), childEnv+"="+path+" "+d.String())
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			var reported uint64
			for lines := bufio.NewScanner(out); reported < 50 && lines.Scan(); {
				if n, err := fmt.Sscanf(lines.Text(), "durable %d", &reported); n != 1 {
					t.Fatalf("child says %q: %v", lines.Text(), err)
				}
			}
			must(t, cmd.Process.Kill())
			_ = cmd.Wait()
			f, err := Open(Options{Path: path, Durability: d})
			must(t, err)
			defer f.Close()
			if reported < 50 {
				t.Fatalf("the child reported only %d", reported)
			}
			for i := uint64(1); i <= reported; i++ {
				if got := f.Load64(i * 4096); got != i {
					t.Fatalf("store %d was reported durable, holds %d", i, got)
				}
			}
		})
	}
}

// child stores, fences and reports until it is killed.
func child(spec string) {
	path, mode, _ := strings.Cut(spec, " ")
	d, err := ParseDurability(mode)
	if err == nil {
		var f *File
		f, err = Create(4096*4096, Options{Path: path, Durability: d})
		for i := uint64(1); err == nil && i < 4096; i++ {
			f.Store64(i*4096, i)
			f.Flush(i*4096, 8)
			if err = f.Fence(); err == nil {
				fmt.Printf("durable %d\n", i)
			}
		}
	}
	fmt.Println("child:", err)
	select {}
}

// BenchmarkFence shows how concurrent fences share a write-back: fences a second, and fences per commit.
func BenchmarkFence(b *testing.B) {
	for _, waiters := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("fsync/waiters=%d", waiters), func(b *testing.B) {
			f, err := Create(1<<20, Options{Path: filepath.Join(b.TempDir(), "pool"), Durability: Fsync})
			must(b, err)
			defer f.Close()
			var group sync.WaitGroup
			for w := range waiters {
				group.Go(func() {
					for i := range b.N {
						at := uint64(w)*4096 + uint64(i)%512*8
						f.Store64(at, uint64(i))
						f.Flush(at, 8)
						if err := f.Fence(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			m := f.Metrics()
			b.ReportMetric(float64(m.Fences)/b.Elapsed().Seconds(), "fences/s")
			b.ReportMetric(float64(m.Fences)/float64(m.Commits), "fences/commit")
		})
	}
}
