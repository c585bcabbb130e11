package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/messages"
)

// journaled gives a rig's provisioner a journal.
func journaled(path string) func(*Options) { return func(o *Options) { o.Journal = path } }

// abandoned starts this test's binary as a provisioner of scripts and kills it when all run. It returns their processes.
func abandoned(t *testing.T, directory string, scripts ...string) []int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=TestTakeOver$", "-test.v")
	cmd.Env = append(os.Environ(), parentVariable+"="+directory, "LOCAL_TEST_SCRIPTS="+strings.Join(scripts, "\n"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := make([]int, len(scripts))
	known := 0
	for lines := bufio.NewScanner(out); known < len(scripts) && lines.Scan(); {
		var i, pid int
		if n, _ := fmt.Sscanf(lines.Text(), "node %d process %d", &i, &pid); n == 2 {
			pids[i-1], known = pid, known+1
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		}
	}
	if known < len(scripts) {
		t.Fatalf("only %d nodes were started", known)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return pids
}

// abandon is what the binary does for abandoned. A script that ends at first is started again, and the third one asked to leave.
func abandon(t *testing.T, scripts []string) {
	r := newRig(t, journaled(filepath.Join(os.Getenv(parentVariable), "nodes.json")))
	if n, err := r.p.Recover(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	for i, script := range scripts {
		r.start(fmt.Sprintf("10.0.0.%d", i+1), script)
	}
	for e := range r.events {
		if e.IP == "10.0.0.3" { // asked to end by itself, it does not
			if err := r.p.Leave(e.IP); err != nil {
				t.Fatal(err)
			}
		}
		if e.State == manager.Running && (e.Restarts == 1 || !strings.Contains(string(e.Kind), "exit 1")) {
			fmt.Printf("\nnode %s process %d\n", e.IP[len("10.0.0."):], e.PID)
		}
	}
}

// TestTakeOver kills a provisioner, and one of its nodes while none is there: MGMT-3.
func TestTakeOver(t *testing.T) {
	if scripts, ok := os.LookupEnv("LOCAL_TEST_SCRIPTS"); ok {
		abandon(t, strings.Split(scripts, "\n"))
		return
	}
	directory := t.TempDir()
	journal := filepath.Join(directory, "nodes.json")
	first, second, third := "[ -e $HERE$WHO ] && exec sleep 1000; touch $HERE$WHO; exit 1", "exec sleep 1001", "exec sleep 1002"
	pids := abandoned(t, directory, first, second, third)
	for i, pid := range pids {
		if !exists(pid) {
			t.Fatalf("node %d died with its provisioner", i)
		}
	}
	if left, err := Left(journal); err != nil || len(left) != 3 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(deadline); exists(pids[1]); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a killed process does not end")
		}
	}

	r := newRig(t, journaled(journal))
	r.logs = directory // HERE of the scripts
	if err := r.p.Start(manager.Node{Kind: "x", IP: "10.0.0.1"}); !errors.Is(err, ErrNotRecovered) {
		t.Errorf("a start before the take-over: %v", err)
	}
	if n, err := r.p.Recover(); n != 3 || err != nil {
		t.Fatalf("%d taken over, %v", n, err)
	}
	if _, err := newRig(t, journaled(journal)).p.Recover(); !errors.Is(err, ErrLocked) {
		t.Errorf("two provisioners of the same nodes: %v", err)
	}
	r.expect(t, map[string][]string{
		"10.0.0.1": {fmt.Sprintf("running %d restarts=1", pids[0])},
		"10.0.0.2": {"starting 0 restarts=0", fmt.Sprintf("starting %d gone restarts=1", pids[1]), "running new restarts=1"},
		"10.0.0.3": {fmt.Sprintf("stopping %d restarts=0", pids[2])},
	})
	// Those taken over are nodes like any other: one that fails is started again, its count goes on; one that was to leave is
	// over; one that is stopped ends.
	for _, pid := range []int{pids[0], pids[2]} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	r.expect(t, map[string][]string{
		"10.0.0.1": {fmt.Sprintf("starting %d gone restarts=2", pids[0]), "running new restarts=2"},
		"10.0.0.3": {fmt.Sprintf("stopped %d gone restarts=0", pids[2])},
	})
	if nodes := r.p.Nodes(); len(nodes) != 2 || nodes[0].State != manager.Running || nodes[0].Restarts != 2 || nodes[1].IP != "10.0.0.2" {
		t.Errorf("nodes: %+v", nodes)
	}
	if err := r.p.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(directory); err != nil || len(left) != 4 { // three logs and the lock
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// expect reads events until each node has had those listed, in their order; the number of a process that is new is not told.
func (r *rig) expect(t *testing.T, want map[string][]string) {
	t.Helper()
	missing := 0
	for _, texts := range want {
		missing += len(texts)
	}
	for ; missing > 0; missing-- {
		select {
		case e := <-r.events:
			gone := ""
			if e.Gone {
				gone = " gone"
			}
			text := fmt.Sprintf("%s %d%s restarts=%d", e.State, e.PID, gone, e.Restarts)
			texts := want[e.IP]
			if len(texts) == 0 || text != texts[0] && texts[0] != fmt.Sprintf("%s new restarts=%d", e.State, e.Restarts) {
				t.Fatalf("%s: %s (%s), want %q", e.IP, text, e.Detail, texts)
			}
			want[e.IP] = texts[1:]
		case <-time.After(deadline):
			t.Fatalf("events do not come: %q", want)
		}
	}
}

// TestNothingIsTakenOverWhenAllAreGone: a list of processes of which none is left says only that they are gone.
func TestNothingIsTakenOverWhenAllAreGone(t *testing.T) {
	directory := t.TempDir()
	journal := filepath.Join(directory, "nodes.json")
	// The number is that of a process which is there, and is not the node: numbers are given out again.
	if err := writeJournal(journal, []record{{Kind: messages.KindMemory, IP: "10.0.0.1", Token: "none", PID: os.Getpid(), Restarts: 2}}); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, journaled(journal))
	if n, err := r.p.Recover(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if e := r.await(manager.Stopped); !e.Gone || e.PID != os.Getpid() {
		t.Errorf("%+v", e)
	}
	r.start("10.0.0.1", "exec sleep 1000")
	r.await(manager.Running)
}

func TestEndLeft(t *testing.T) {
	directory := t.TempDir()
	journal := filepath.Join(directory, "nodes.json")
	pids := abandoned(t, directory, "exec sleep 1000", "exec sleep 1001")
	if err := EndLeft(journal); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if exists(pid) {
			t.Errorf("process %d is there yet", pid)
		}
	}
	if left, err := Left(journal); len(left) != 0 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
	if err := EndLeft(journal); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}

func TestLifeline(t *testing.T) {
	l, err := NewLifeline()
	if err != nil {
		t.Fatal(err)
	}
	// The script ends when its descriptor is at its end; what it starts hangs on it too.
	r := newRig(t, func(o *Options) { o.Lifeline = l })
	script := `echo up; cat <&$DINOMO_LIFELINE; echo cut`
	r.start("10.0.0.1", script)
	r.await(manager.Running)
	r.awaitUp("10.0.0.1", script)
	l.Cut()
	if e := r.await(manager.Stopped); e.Detail != "it ended by itself, in order" || r.log("10.0.0.1", script) != "up\ncut\n" {
		t.Errorf("%+v, %q", e, r.log("10.0.0.1", script))
	}
}

func TestDamagedJournalIsRefused(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "nodes.json")
	if err := os.WriteFile(journal, []byte(`[{"kind":"memory","ip":"10.0.0.1"`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, journaled(journal))
	if _, err := r.p.Recover(); err == nil || !strings.Contains(err.Error(), journal) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v", err)
	}
}

// FuzzJournal: whatever is in the file, it is refused or makes sense, and what makes sense is written as it was read.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"kind":"memory","ip":"127.0.10.100","token":"abc","pid":41,"restarts":3,"leaving":true}]`))
	f.Add([]byte(`[{"kind":"memory","ip":"127.0.10.100","token":"a","pid":1},{"kind":"memory","ip":"127.0.10.100","token":"b","pid":2}]`))
	f.Add([]byte(`[{"kind":"memory","ip":"x","token":"a","pid":-1}]`))
	f.Add([]byte(`{"nodes":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, err := decodeJournal(text)
		if err != nil || len(records) == 0 {
			return
		}
		path := filepath.Join(t.TempDir(), "nodes.json")
		if err := writeJournal(path, records); err != nil {
			t.Fatal(err)
		}
		again, err := readJournal(path)
		if err != nil || len(again) != len(records) {
			t.Fatalf("%v: %+v and %+v", err, records, again)
		}
		for i := range again {
			if again[i] != records[i] {
				t.Errorf("%+v became %+v", records[i], again[i])
			}
		}
	})
}
