package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/cluster/manager"
)

// keeper keeps one node running.
type keeper struct {
	p           *Provisioner
	node        manager.Node
	args        []string
	environment []string
	orders      chan syscall.Signal
	done        chan struct{}
	last        atomic.Pointer[manager.Event] // what was told last

	taken    *process    // that another provisioner started; nil once it is kept like any other
	restarts []time.Time // within the window
	total    uint32
	pid      int // of the process that runs, or ended last

	record record // what the journal says; under the provisioner's lock
}

func newKeeper(p *Provisioner, r record, args, environment []string) *keeper {
	return &keeper{
		p: p, node: manager.Node{Kind: r.Kind, IP: r.IP}, args: args, environment: environment, record: r,
		orders: make(chan syscall.Signal, 2), done: make(chan struct{}),
	}
}

// note changes the node's record and writes the journal.
func (k *keeper) note(change func(*record)) error {
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	change(&k.record)
	return k.p.write()
}

// leaves says whether the node was asked to end by itself.
func (k *keeper) leaves() bool {
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	return k.record.Leaving
}

// run starts the process, again and again as far as it has to.
func (k *keeper) run() {
	state, detail := k.keep()
	p := k.p
	// Told under the lock, so that nobody can start the IP's next node and hear of that one first.
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.keepers, k.node.IP)
	if err := p.write(); err != nil {
		detail = fmt.Sprintf("%s; %v", detail, err)
	}
	k.tell(state, k.pid, k.pid != 0, detail)
	close(k.done)
}

func (k *keeper) tell(s manager.State, pid int, gone bool, detail string) {
	e := manager.Event{Node: k.node, State: s, PID: pid, Gone: gone, Restarts: k.total, Detail: detail}
	k.last.Store(&e)
	k.p.o.Events(e)
}

// keep returns the node's last state, and why.
func (k *keeper) keep() (manager.State, string) {
	for {
		outcome, ordered := k.once()
		switch {
		case ordered || k.leaves():
			return manager.Stopped, outcome.detail
		case outcome.err == nil:
			return manager.Stopped, "it ended by itself, in order"
		}
		now := k.p.o.Clock.Now()
		k.restarts = slices.DeleteFunc(k.restarts, func(at time.Time) bool { return now.Sub(at) > k.p.o.RestartWindow })
		if len(k.restarts) >= k.p.o.MaxRestarts {
			return manager.Failed, fmt.Sprintf("%s; started again %d times within %v, see %s",
				outcome.detail, len(k.restarts), k.p.o.RestartWindow, k.logPath())
		}
		pause := min(k.p.o.RestartPauseMin<<len(k.restarts), k.p.o.RestartPauseMax)
		k.restarts = append(k.restarts, now)
		k.total++
		detail := outcome.detail + "; it is started again"
		if err := k.note(func(r *record) { r.PID, r.Restarts = 0, k.total }); err != nil {
			detail += "; " + err.Error()
		}
		k.tell(manager.Starting, k.pid, k.pid != 0, detail)
		k.pid = 0
		if k.pause(pause) {
			return manager.Stopped, "it was to be started again"
		}
	}
}

// pause waits, and says whether the node is not wanted any more.
func (k *keeper) pause(d time.Duration) (unwanted bool) {
	timer := k.p.o.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-k.orders:
		return true
	}
}

// outcome is how a process ended.
type outcome struct {
	err    error // nil: exit status 0
	detail string
}

// once runs the process once. ordered says that its end was asked for.
func (k *keeper) once() (o outcome, ordered bool) {
	proc, err := k.begin()
	if err != nil {
		return outcome{err, err.Error()}, false
	}
	defer proc.release()
	if k.pid != proc.pid { // else greet has told
		k.pid = proc.pid
		k.tell(manager.Running, k.pid, false, "")
	}
	for {
		look := k.p.o.Clock.NewTimer(k.p.o.LogPeriod)
		select {
		case err := <-proc.ended:
			look.Stop()
			return outcome{err, k.describe(err)}, false
		case signal := <-k.orders:
			look.Stop()
			return k.end(proc, signal), true
		case <-look.C:
			k.emptyLog()
		}
	}
}

// greet tells of a node that was there before. REQUIRES: the keeper does not run yet, and the provisioner's lock.
func (k *keeper) greet() {
	switch {
	case k.taken == nil || k.taken.over:
		k.tell(manager.Starting, 0, false, "its process ended while no management node was there")
	case k.record.Leaving:
		k.tell(manager.Stopping, k.taken.pid, false, "it was asked to leave before")
	default:
		k.tell(manager.Running, k.taken.pid, false, "")
	}
	if k.taken != nil {
		k.pid = k.taken.pid
	}
}

// begin returns the process to be kept: one that is there already, or a new one.
func (k *keeper) begin() (*process, error) {
	if taken := k.taken; taken != nil {
		k.taken = nil
		return taken, nil
	}
	log, err := k.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own by then
	cmd := k.command(log)
	s := start{cmd, make(chan error, 1)}
	k.p.starts <- s
	if err := <-s.done; err != nil {
		return nil, fmt.Errorf("it cannot be started: %w", err)
	}
	proc := startedProcess(cmd)
	// It carries its token from the first instruction on, so that it is found even if nobody lives to note its number. And a
	// journal that cannot be written now is no reason to end a node that runs.
	_ = k.note(func(r *record) { r.PID = proc.pid })
	return proc, nil
}

// command makes the command of a new process.
func (k *keeper) command(log *os.File) *exec.Cmd {
	o := &k.p.o
	cmd := exec.Command(o.Binary, k.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(slices.Clone(k.environment), tokenVariable+"="+k.record.Token)
	// A group of its own: Ctrl-C goes to the one at the terminal only, which then stops the others in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if o.Journal == "" {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	o.Lifeline.tie(cmd)
	return cmd
}

// end carries out an order.
func (k *keeper) end(proc *process, signal syscall.Signal) outcome {
	if signal == syscall.SIGTERM {
		k.tell(manager.Stopping, 0, false, "")
		proc.signal(signal)
		timer := k.p.o.Clock.NewTimer(k.p.o.StopTimeout)
		defer timer.Stop()
		select {
		case err := <-proc.ended:
			return outcome{err, k.describe(err)}
		case <-timer.C:
		case <-k.orders: // a second order: it is to end now
		}
	}
	proc.signal(syscall.SIGKILL)
	err := <-proc.ended
	return outcome{err, k.describe(err)}
}

// describe says in words how the process ended, with the last line that it printed when it failed.
func (k *keeper) describe(err error) string {
	if err == nil {
		return "exit status 0"
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return err.Error() // a signal: what it printed last has nothing to do with it
	}
	if line := lastLine(k.logPath()); line != "" {
		return fmt.Sprintf("%v: %s", err, line)
	}
	return err.Error()
}

func (k *keeper) logPath() string {
	return filepath.Join(k.p.o.LogDirectory, k.node.IP+"-"+string(k.node.Kind)+".log")
}

// openLog opens the node's log file at its end, and puts a large one aside first.
func (k *keeper) openLog() (*os.File, error) {
	path := k.logPath()
	if k.logIsLarge() {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put the log aside: %w", err)
		}
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return log, nil
}

func (k *keeper) logIsLarge() bool {
	info, err := os.Stat(k.logPath())
	return err == nil && info.Size() > k.p.o.LogBytes
}

// emptyLog puts a large log of a process that runs aside. The process has the file open, for appending, so that it is copied and
// emptied; what is printed between the two is lost. When that cannot be done, it is tried again the next time.
func (k *keeper) emptyLog() {
	if !k.logIsLarge() {
		return
	}
	path := k.logPath()
	if err := copyFile(path+".1", path); err == nil {
		_ = os.Truncate(path, 0)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// lastLineBytes is how much of a log's end lastLine looks at.
const lastLineBytes = 2048

// lastLine returns the last line of a file, or "".
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	from := max(info.Size()-lastLineBytes, 0)
	b := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(b, from); err != nil {
		return ""
	}
	text := strings.TrimSpace(string(b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
