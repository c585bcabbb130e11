package local

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// Errors of a provisioner.
var (
	// ErrNoNode: there is no node at the IP.
	ErrNoNode = errors.New("there is no node at this IP")
	// ErrTooMany: MaxNodes are there.
	ErrTooMany = errors.New("too many nodes")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("provisioner is closed")
	// ErrLocked: another provisioner has the journal.
	ErrLocked = errors.New("another management node keeps these nodes")
	// ErrNotRecovered: Recover was not called yet, and there is a journal.
	ErrNotRecovered = errors.New("nodes of a provisioner before are not taken over yet")
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
		// recovered: nodes of before are known, so that none is started at an IP of theirs.
		recovered bool
		locked    *os.File // the lock of the journal
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
	p.mu.recovered = o.Journal == ""
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
	case !p.mu.recovered:
		return fmt.Errorf("start %s at %s: %w", n.Kind, n.IP, ErrNotRecovered)
	case p.mu.keepers[n.IP] != nil:
		return fmt.Errorf("start %s at %s: %w", n.Kind, n.IP, manager.ErrTaken)
	case len(p.mu.keepers) >= p.o.MaxNodes:
		return fmt.Errorf("start %s at %s: %w: %d; raise dinomo.manage.max-nodes", n.Kind, n.IP, ErrTooMany, p.o.MaxNodes)
	}
	if err := p.o.Free(n); err != nil {
		return fmt.Errorf("start %s at %s: %w: %w", n.Kind, n.IP, manager.ErrTaken, err)
	}
	k := newKeeper(p, record{Kind: n.Kind, IP: n.IP, Token: strconv.FormatUint(random.FreshSeed(), 36)}, args, environment)
	p.mu.keepers[n.IP] = k
	if err := p.write(); err != nil {
		delete(p.mu.keepers, n.IP)
		return fmt.Errorf("start %s at %s: %w", n.Kind, n.IP, err)
	}
	p.all.Go(k.run)
	return nil
}

// Recover implements manager.Provisioner. Of a whole list of which no process is left nothing is taken over: the machine,
// or everything on it, was started anew.
func (p *Provisioner) Recover() (int, error) {
	if p.o.Journal == "" {
		return 0, nil
	}
	if err := p.lock(); err != nil {
		return 0, err
	}
	records, err := readJournal(p.o.Journal)
	if err != nil {
		return 0, err
	}
	var alive int
	processes := make([]*process, len(records))
	for i, r := range records {
		if processes[i], err = find(r.Token, r.PID); err != nil {
			return 0, err
		}
		if !processes[i].over {
			alive++
		}
	}
	if alive == 0 {
		for _, r := range records {
			p.o.Events(manager.Event{Node: manager.Node{Kind: r.Kind, IP: r.IP}, State: manager.Stopped, PID: r.PID, Gone: r.PID != 0,
				Restarts: r.Restarts, Detail: "it ended while no management node was there, like all others"})
		}
		records, processes = nil, nil
	}
	return len(records), p.takeOver(records, processes)
}

// lock makes the journal this provisioner's, until its process ends or Close.
func (p *Provisioner) lock() error {
	f, err := os.OpenFile(p.o.Journal+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the list of nodes: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w; give this one another IP or data directory", p.o.Journal, ErrLocked)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.locked = f
	return nil
}

func (p *Provisioner) unlock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.locked != nil {
		p.mu.locked.Close()
	}
}

// takeOver makes a keeper for each record. What is there is told before it returns, so that whoever asks later knows.
func (p *Provisioner) takeOver(records []record, processes []*process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.recovered = true
	for i, r := range records {
		args, environment, err := p.o.Command(manager.Node{Kind: r.Kind, IP: r.IP})
		if err != nil {
			return err
		}
		k := newKeeper(p, r, args, environment)
		k.total = r.Restarts
		if r.PID != 0 || !processes[i].over { // else it was between two processes
			k.taken = processes[i]
		}
		p.mu.keepers[r.IP] = k
	}
	for _, k := range p.mu.keepers {
		k.greet()
		p.all.Go(k.run)
	}
	return nil
}

// Nodes implements manager.Provisioner.
func (p *Provisioner) Nodes() []manager.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var events []manager.Event
	for _, ip := range slices.Sorted(maps.Keys(p.mu.keepers)) {
		if e := p.mu.keepers[ip].last.Load(); e != nil {
			events = append(events, *e)
		}
	}
	return events
}

// write writes the journal. REQUIRES: p.mu.
func (p *Provisioner) write() error {
	if p.o.Journal == "" {
		return nil
	}
	var records []record
	for _, ip := range slices.Sorted(maps.Keys(p.mu.keepers)) {
		records = append(records, p.mu.keepers[ip].record)
	}
	return writeJournal(p.o.Journal, records)
}

// Leave implements manager.Provisioner.
func (p *Provisioner) Leave(ip string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.mu.keepers[ip]
	if k == nil {
		return fmt.Errorf("%s: %w", ip, ErrNoNode)
	}
	k.record.Leaving = true
	return p.write()
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
		p.unlock()
	}
	return nil
}
