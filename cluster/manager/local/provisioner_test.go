package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/messages"
)

// deadline is how long a test waits for something that must come.
const deadline = 20 * time.Second

// parentVariable makes this test's binary a parent that is to be killed; its value is a directory.
const parentVariable = "LOCAL_TEST_PARENT"

// rig is a provisioner of shell scripts: a node's kind is its script.
type rig struct {
	t      *testing.T
	p      *Provisioner
	logs   string
	events chan manager.Event
}

func newRig(t *testing.T, change func(*Options)) *rig {
	r := &rig{t: t, logs: os.Getenv(parentVariable), events: make(chan manager.Event, 1000)}
	if r.logs == "" { // else it is the test's that will kill this process, which could not remove its own
		r.logs = t.TempDir()
	}
	o := Options{
		Binary: "/bin/sh", LogDirectory: r.logs, StopTimeout: 500 * time.Millisecond, RestartPauseMin: time.Millisecond, MaxRestarts: 3,
		Command: func(n manager.Node) ([]string, []string, error) {
			if n.Kind == messages.KindStorage {
				return nil, nil, errors.New("there is one pool")
			}
			return []string{"-c", string(n.Kind)}, []string{"PATH=" + os.Getenv("PATH"), "WHO=" + n.IP, "HERE=" + r.logs}, nil
		},
		Events: func(e manager.Event) { r.events <- e },
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.p, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.p.Close() })
	return r
}

func (r *rig) start(ip, script string) {
	r.t.Helper()
	if err := r.p.Start(manager.Node{Kind: messages.NodeKind(script), IP: ip}); err != nil {
		r.t.Fatal(err)
	}
}

// await returns the next event, which must be of that state.
func (r *rig) await(s manager.State) manager.Event {
	r.t.Helper()
	select {
	case e := <-r.events:
		if e.State != s {
			r.t.Fatalf("state %s (%s), want %s", e.State, e.Detail, s)
		}
		return e
	case <-time.After(deadline):
		r.t.Fatalf("no event %s", s)
	}
	panic("not reached")
}

// awaitUp waits until a script has printed "up".
func (r *rig) awaitUp(ip, script string) {
	r.t.Helper()
	for end := time.Now().Add(deadline); !strings.Contains(r.log(ip, script), "up\n"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatal("the script does not come up")
		}
	}
}

// log returns what a node printed.
func (r *rig) log(ip, script string) string {
	text, err := os.ReadFile(filepath.Join(r.logs, ip+"-"+script+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// exists says whether a process is there (a zombie is not).
func exists(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat[strings.LastIndexByte(string(stat), ')'):]), " Z ")
}

func TestStopIsOrderly(t *testing.T) {
	r := newRig(t, nil)
	script := "trap 'echo bye $WHO; exit 0' TERM; echo up; while :; do sleep 0.01; done"
	r.start("10.0.0.1", script)
	running := r.await(manager.Running)
	r.awaitUp("10.0.0.1", script)
	if err := r.p.Stop("10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	r.await(manager.Stopping)
	stopped := r.await(manager.Stopped)
	if !stopped.Gone || stopped.PID != running.PID || exists(running.PID) {
		t.Errorf("%+v of process %d", stopped, running.PID)
	}
	if log := r.log("10.0.0.1", script); log != "up\nbye 10.0.0.1\n" {
		t.Errorf("log %q", log)
	}
	if err := r.p.Stop("10.0.0.1"); !errors.Is(err, ErrNoNode) {
		t.Errorf("stop of nobody: %v", err)
	}
}

func TestStopBecomesKill(t *testing.T) {
	r := newRig(t, nil)
	script := "trap '' TERM; echo up; while :; do sleep 0.01; done"
	r.start("10.0.0.1", script)
	pid := r.await(manager.Running).PID
	r.awaitUp("10.0.0.1", script)
	if err := r.p.Stop("10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	r.await(manager.Stopping)
	if e := r.await(manager.Stopped); !strings.Contains(e.Detail, "killed") || exists(pid) {
		t.Errorf("%+v", e)
	}
}

func TestKillIsNoRestart(t *testing.T) {
	r := newRig(t, nil)
	r.start("10.0.0.1", "exec sleep 1000")
	pid := r.await(manager.Running).PID
	if err := r.p.Start(manager.Node{Kind: "true", IP: "10.0.0.1"}); !errors.Is(err, manager.ErrTaken) {
		t.Errorf("a second node at one IP: %v", err)
	}
	if err := r.p.Kill("10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if e := r.await(manager.Stopped); !e.Gone || e.PID != pid || e.Restarts != 0 {
		t.Errorf("%+v", e)
	}
	r.start("10.0.0.1", "exec sleep 1000") // its address is free again
	r.await(manager.Running)
}

func TestFailureRestartsWithinBounds(t *testing.T) {
	r := newRig(t, nil)
	r.start("10.0.0.1", "echo what is wrong; exit 3")
	for i := range uint32(3) {
		r.await(manager.Running)
		e := r.await(manager.Starting)
		if !e.Gone || e.Restarts != i+1 || !strings.Contains(e.Detail, "exit status 3: what is wrong") {
			t.Errorf("%+v", e)
		}
	}
	r.await(manager.Running)
	if e := r.await(manager.Failed); !e.Gone || e.Restarts != 3 || !strings.Contains(e.Detail, "started again 3 times") {
		t.Errorf("%+v", e)
	}
}

func TestOrderlyEndIsNoFailure(t *testing.T) {
	r := newRig(t, nil)
	r.start("10.0.0.1", "exit 0")
	r.await(manager.Running)
	if e := r.await(manager.Stopped); !e.Gone || e.Restarts != 0 {
		t.Errorf("%+v", e)
	}
}

func TestCannotStart(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Binary, o.MaxRestarts = "/no/such/program", 1 })
	if err := r.p.Start(manager.Node{Kind: messages.KindStorage, IP: "10.0.0.1"}); err == nil {
		t.Error("a second pool was started")
	}
	r.start("10.0.0.1", "x")
	r.await(manager.Starting)
	if e := r.await(manager.Failed); e.Gone || !strings.Contains(e.Detail, "cannot be started") {
		t.Errorf("%+v", e)
	}
}

func TestAnAddressThatSomebodyElseHasIsRefused(t *testing.T) {
	taken := errors.New("address in use")
	r := newRig(t, func(o *Options) {
		o.Free = func(n manager.Node) error {
			if n.IP == "10.0.0.1" {
				return taken
			}
			return nil
		}
	})
	if err := r.p.Start(manager.Node{Kind: "x", IP: "10.0.0.1"}); !errors.Is(err, manager.ErrTaken) || !errors.Is(err, taken) {
		t.Errorf("%v", err)
	}
	r.start("10.0.0.2", "exec sleep 1000")
	r.await(manager.Running)
}

func TestTooManyNodes(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxNodes = 1 })
	r.start("10.0.0.1", "exec sleep 1000")
	if err := r.p.Start(manager.Node{Kind: "x", IP: "10.0.0.2"}); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
}

func TestCloseEndsAll(t *testing.T) {
	r := newRig(t, nil)
	var pids []int
	for i := range 4 {
		r.start(fmt.Sprintf("10.0.0.%d", i+1), "exec sleep 1000")
	}
	for range 4 {
		pids = append(pids, r.await(manager.Running).PID)
	}
	if err := r.p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if exists(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if err := r.p.Start(manager.Node{Kind: "x", IP: "10.0.0.9"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestLogIsPutAside(t *testing.T) {
	r := newRig(t, func(o *Options) { o.LogBytes = 10 })
	for range 2 {
		r.start("10.0.0.1", "echo 0123456789abcdef")
		r.await(manager.Running)
		r.await(manager.Stopped)
	}
	if old, err := os.ReadFile(filepath.Join(r.logs, "10.0.0.1-echo 0123456789abcdef.log.1")); err != nil || !strings.HasPrefix(string(old), "0123") {
		t.Errorf("%q, %v", old, err)
	}
}

// TestLogOfARunningNodeIsPutAside: a node that runs for months does not fill the disk, and goes on with an empty log.
func TestLogOfARunningNodeIsPutAside(t *testing.T) {
	r := newRig(t, func(o *Options) { o.LogBytes, o.LogPeriod = 10, time.Millisecond })
	more := filepath.Join(r.logs, "more")
	if err := syscall.Mkfifo(more, 0o600); err != nil {
		t.Fatal(err)
	}
	const script = "echo 0123456789abcdef; cd $HERE; cat more; exec sleep 1000"
	r.start("10.0.0.1", script)
	r.await(manager.Running)
	path := filepath.Join(r.logs, "10.0.0.1-"+script+".log")
	until := time.Now().Add(deadline)
	want := func(log, aside string) {
		t.Helper()
		for {
			now, _ := os.ReadFile(path)
			old, _ := os.ReadFile(path + ".1")
			if string(now) == log && string(old) == aside {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("log %q, put aside %q; want %q and %q", now, old, log, aside)
			}
			time.Sleep(time.Millisecond)
		}
	}
	want("", "0123456789abcdef\n")
	if err := os.WriteFile(more, []byte("short\n"), 0); err != nil {
		t.Fatal(err)
	}
	want("short\n", "0123456789abcdef\n")
}

// TestChildrenDieWithTheirParent starts this test's binary as a parent of a process and kills it (CLU-1's core).
func TestChildrenDieWithTheirParent(t *testing.T) {
	if os.Getenv(parentVariable) != "" {
		parent(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=TestChildrenDieWithTheirParent$", "-test.v")
	cmd.Env = append(os.Environ(), parentVariable+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			if pid, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pid == 0 || !exists(pid) {
		t.Fatalf("there is no child to begin with (process %d)", pid)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for end := time.Now().Add(deadline); exists(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d outlives its parent", pid)
		}
	}
}

// parent starts a child, says so, and waits to be killed.
func parent(t *testing.T) {
	r := newRig(t, nil)
	r.start("10.0.0.1", "exec sleep 1000")
	fmt.Printf("\nchild %d\n", r.await(manager.Running).PID)
	time.Sleep(time.Minute)
}
