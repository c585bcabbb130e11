package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/cluster/manager"
)

// Errors of a provisioner.
var (
	// ErrTaken: there is a node at the IP already.
	ErrTaken = errors.New("there is a node at this IP")
	// ErrNoNode: there is no node at the IP.
	ErrNoNode = errors.New("there is no node at this IP")
	// ErrTooMany: MaxNodes are there.
	ErrTooMany = errors.New("too many nodes")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("provisioner is closed")
)

// Provisioner implements manager.Provisioner with processes. Make it with New.
type Provisioner struct {
	o      Options
	starts chan start // to the thread that all processes are started from
	ended  chan struct{}
	all    sync.WaitGroup // keepers

	mu struct {
		sync.Mutex
		keepers map[string]*keeper // by IP; while their nodes are to be kept
		closed  bool
	}
}

var _ manager.Provisioner = (*Provisioner)(nil)

// start asks for a process.
type start struct {
	cmd  *exec.Cmd
	done chan error
}

// New makes a provisioner without nodes.
func New(o Options) (*Provisioner, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Provisioner{o: o, starts: make(chan start), ended: make(chan struct{})}
	p.mu.keepers = make(map[string]*keeper)
	go p.starter()
	return p, nil
}

// starter starts all processes from one thread, which lives as long as the provisioner: the parent death signal is sent
// when the thread ends that a process was started from, and Go ends threads as it likes.
func (p *Provisioner) starter() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for {
		select {
		case s := <-p.starts:
			s.done <- s.cmd.Start()
		case <-p.ended:
			return
		}
	}
}

// Start implements manager.Provisioner.
func (p *Provisioner) Start(n manager.Node) error {
	args, environment, err := p.o.Command(n)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mu.closed:
		return fmt.Errorf("start %s at %s: %w", n.Kind, n.IP, ErrClosed)
	case p.mu.keepers[n.IP] != nil:
		return fmt.Errorf("start %s at %s: %w", n.Kind, n.IP, ErrTaken)
	case len(p.mu.keepers) >= p.o.MaxNodes:
		return fmt.Errorf("start %s at %s: %w: %d; raise dinomo.manage.max-nodes", n.Kind, n.IP, ErrTooMany, p.o.MaxNodes)
	}
	k := &keeper{p: p, node: n, args: args, environment: environment, orders: make(chan syscall.Signal, 2), done: make(chan struct{})}
	p.mu.keepers[n.IP] = k
	p.all.Go(k.run)
	return nil
}

// Stop implements manager.Provisioner.
func (p *Provisioner) Stop(ip string) error { return p.order(ip, syscall.SIGTERM) }

// Kill implements manager.Provisioner.
func (p *Provisioner) Kill(ip string) error { return p.order(ip, syscall.SIGKILL) }

func (p *Provisioner) order(ip string, s syscall.Signal) error {
	p.mu.Lock()
	k := p.mu.keepers[ip]
	p.mu.Unlock()
	if k == nil {
		return fmt.Errorf("%s: %w", ip, ErrNoNode)
	}
	select {
	case k.orders <- s:
	default: // it has orders already
	}
	return nil
}

// Wait returns when the node at ip is over, or at once when there is none.
func (p *Provisioner) Wait(ip string) {
	p.mu.Lock()
	k := p.mu.keepers[ip]
	p.mu.Unlock()
	if k != nil {
		<-k.done
	}
}

// Close implements manager.Provisioner.
func (p *Provisioner) Close() error {
	p.mu.Lock()
	first := !p.mu.closed
	p.mu.closed = true
	var ips []string
	for ip := range p.mu.keepers {
		ips = append(ips, ip)
	}
	p.mu.Unlock()
	for _, ip := range ips {
		_ = p.Stop(ip) // ErrNoNode: it is over already
	}
	p.all.Wait()
	if first {
		close(p.ended)
	}
	return nil
}

// keeper keeps one node running.
type keeper struct {
	p           *Provisioner
	node        manager.Node
	args        []string
	environment []string
	orders      chan syscall.Signal
	done        chan struct{}

	restarts []time.Time // within the window
	total    uint32
	pid      int // of the process that ended last
}

// run starts the process, again and again as far as it has to.
func (k *keeper) run() {
	state, detail := k.keep()
	p := k.p
	// Told under the lock, so that nobody can start the IP's next node and hear of that one first.
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.keepers, k.node.IP)
	k.tell(state, k.pid, k.pid != 0, detail)
	close(k.done)
}

func (k *keeper) tell(s manager.State, pid int, gone bool, detail string) {
	k.p.o.Events(manager.Event{Node: k.node, State: s, PID: pid, Gone: gone, Restarts: k.total, Detail: detail})
}

// keep returns the node's last state, and why.
func (k *keeper) keep() (manager.State, string) {
	for {
		outcome, ordered := k.once()
		switch {
		case ordered:
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
		k.tell(manager.Starting, k.pid, k.pid != 0, outcome.detail+"; it is started again")
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
	log, err := k.openLog()
	if err != nil {
		return outcome{err, err.Error()}, false
	}
	defer log.Close()
	cmd := exec.Command(k.p.o.Binary, k.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = k.environment, log, log
	// A group of its own: Ctrl-C goes to the one at the terminal only, which then stops the others in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	s := start{cmd, make(chan error, 1)}
	k.p.starts <- s
	if err := <-s.done; err != nil {
		return outcome{err, fmt.Sprintf("it cannot be started: %v", err)}, false
	}
	k.pid = cmd.Process.Pid
	k.tell(manager.Running, k.pid, false, "")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return outcome{err, k.describe(err)}, false
	case signal := <-k.orders:
		return k.end(cmd, signal, ended), true
	}
}

// end carries out an order.
func (k *keeper) end(cmd *exec.Cmd, signal syscall.Signal, ended <-chan error) outcome {
	if signal == syscall.SIGTERM {
		k.tell(manager.Stopping, 0, false, "")
		_ = cmd.Process.Signal(signal) // it may be over already
		timer := k.p.o.Clock.NewTimer(k.p.o.StopTimeout)
		defer timer.Stop()
		select {
		case err := <-ended:
			return outcome{err, k.describe(err)}
		case <-timer.C:
		case <-k.orders: // a second order: it is to end now
		}
	}
	_ = cmd.Process.Kill()
	err := <-ended
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
	if info, err := os.Stat(path); err == nil && info.Size() > k.p.o.LogBytes {
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
