package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// ErrBusy means that a thread has as many commands waiting as it may.
var ErrBusy = errors.New("busy: too many commands are waiting; send this one again later")

// reportsTopic is the topic of a StatusQuery to the control socket that subscribes its sender to reports.
const reportsTopic = "reports"

// Node is a benchmark node: threads, a command socket for each, and one control socket.
//
// A command that arrives while its thread is at work waits, up to Options.QueuedCommands. A line that is no command, or one too
// many, is answered with a BenchReport that says so, and work goes on. A StatusQuery to the control socket is answered with a
// StatusReport; with the topic "reports" its sender also gets every BenchReport from then on, progress included.
type Node struct {
	options Options
	mailer  *mailer
	control *runtime.Pull
	threads []*nodeThread
}

// nodeThread is a thread with its command socket.
type nodeThread struct {
	node   *Node
	thread *Thread
	uid    string
	pull   *runtime.Pull
	queue  chan command.Command

	mu struct {
		sync.Mutex
		doing string // the command's line; empty: nothing
		done  uint64 // commands so far
	}
}

// NewNode binds a node's sockets. Call Run, then Close.
func NewNode(o Options) (*Node, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMailer(&o)
	if err != nil {
		return nil, err
	}
	n := &Node{options: o, mailer: m}
	if n.control, err = n.listen(messages.BenchControl, 0, 1<<20); err != nil {
		n.Close()
		return nil, err
	}
	for i := range o.Threads {
		t := &nodeThread{node: n, uid: o.IP + ":" + strconv.Itoa(i), queue: make(chan command.Command, o.QueuedCommands)}
		n.threads = append(n.threads, t)
		if t.pull, err = n.listen(messages.BenchCommand, i, 64<<10); err == nil {
			t.thread, err = NewThread(o, i)
		}
		if err != nil {
			n.Close()
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) listen(s messages.Socket, thread, maxFrame int) (*runtime.Pull, error) {
	a, err := n.options.Plan.Address(n.options.IP, s, thread)
	if err != nil {
		return nil, err
	}
	at := a.String()
	if n.options.AnyPort {
		at = "tcp://" + n.options.IP + ":0"
	}
	pull, err := runtime.ListenPull(at, runtime.PullOptions{MaxFrameBytes: maxFrame, MaxConnections: 256, Logf: n.options.Logf})
	if err != nil {
		return nil, fmt.Errorf("%s socket: %w", s, err)
	}
	return pull, nil
}

// CommandAddress returns where a thread listens for commands.
func (n *Node) CommandAddress(thread int) string { return n.threads[thread].pull.Address() }

// ControlAddress returns where the node's control socket listens.
func (n *Node) ControlAddress() string { return n.control.Address() }

// Run works until ctx ends. It returns nil then: that is how a benchmark node stops.
func (n *Node) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { n.serveControl(ctx) })
	for _, t := range n.threads {
		all.Go(func() { t.receive(ctx) })
		all.Go(func() { t.work(ctx) })
	}
	all.Wait()
	return nil
}

// Close frees the sockets. Run must have returned.
func (n *Node) Close() {
	for _, t := range n.threads {
		if t.pull != nil {
			t.pull.Close()
		}
		if t.thread != nil {
			t.thread.Close()
		}
	}
	if n.control != nil {
		n.control.Close()
	}
	n.mailer.peers.Close(200 * time.Millisecond)
}

// serveControl answers questions and sweeps idle connections.
func (n *Node) serveControl(ctx context.Context) {
	for {
		tick := n.options.Clock.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case b := <-n.control.Batches():
			for _, frame := range b.Frames {
				n.answer(frame)
			}
			b.Release()
		case now := <-tick.C:
			n.mailer.peers.Sweep(now)
		}
		tick.Stop()
	}
}

// answer takes one envelope. What is not a StatusQuery with a place to answer to is logged and dropped.
func (n *Node) answer(frame []byte) {
	var e messages.ControlEnvelope
	if err := messages.Unmarshal(frame, &e); err != nil {
		n.options.Logf("control: %v", err)
		return
	}
	q := e.GetStatusQuery()
	if q == nil {
		n.options.Logf("control: a message that is no StatusQuery, from %q", e.GetSender())
		return
	}
	if q.GetTopic() == reportsTopic {
		if err := n.mailer.subscribe(q.GetResponseAddress()); err != nil {
			n.options.Logf("control: subscribe: %v", err)
			return
		}
	}
	n.mailer.send(messages.Envelope(n.options.IP, n.status(q.GetRequestId())), []string{q.GetResponseAddress()})
}

func (n *Node) status(requestID string) *messages.StatusReport {
	r := &messages.StatusReport{RequestId: requestID, Role: "bench", Facts: map[string]string{}, Counters: map[string]uint64{}}
	r.Counters["threads"] = uint64(len(n.threads))
	for i, t := range n.threads {
		t.mu.Lock()
		if t.mu.doing != "" {
			r.Facts["thread "+strconv.Itoa(i)] = t.mu.doing
		}
		r.Counters["commands"] += t.mu.done
		t.mu.Unlock()
		r.Counters["waiting"] += uint64(len(t.queue))
	}
	return r
}

// receive takes command lines off the socket.
func (t *nodeThread) receive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-t.pull.Batches():
			for _, frame := range b.Frames {
				t.accept(string(frame))
			}
			b.Release()
		}
	}
}

// accept queues one line, or says why not.
func (t *nodeThread) accept(line string) {
	c, err := command.Parse(line)
	if err == nil {
		select {
		case t.queue <- c:
			return
		default:
			err = ErrBusy
		}
	}
	t.refuse(line, err)
}

func (t *nodeThread) refuse(line string, err error) {
	t.node.options.Logf("thread %s: %.80q: %v", t.uid, line, err)
	t.node.mailer.sendReport(t.uid, refusalReport(t.uid, line, err))
}

// work carries out one command after the other.
func (t *nodeThread) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-t.queue:
			t.do(ctx, c)
		}
	}
}

func (t *nodeThread) do(ctx context.Context, c command.Command) {
	t.set(c.String())
	defer t.set("")
	t.node.options.Logf("thread %s: %s", t.uid, c)
	suffix := feedbackSuffix(c)
	r, err := t.thread.Run(ctx, c, func(p Period) {
		if suffix == "" {
			t.node.mailer.sendFeedback(feedbackOf(t.uid, p))
		}
		t.node.mailer.sendReport(t.uid, progressReport(t.uid, p.Progress, suffix != ""))
	})
	if errors.Is(err, ErrRefused) {
		t.refuse(c.String(), err)
		return
	}
	if err != nil {
		t.node.options.Logf("thread %s: %s: %v", t.uid, c, err)
	}
	// For who sent the command from a script that waits for no report.
	t.node.options.Logf("thread %s has done %s", t.uid, r.Summary())
	t.node.mailer.sendFeedback(&messages.UserFeedback{Uid: t.uid + suffix, Finish: true, Warmup: suffix != ""})
	report, err := r.Report(t.uid, suffix != "")
	if err != nil {
		t.node.options.Logf("thread %s: %v", t.uid, err)
		return
	}
	t.node.mailer.sendReport(t.uid, report)
}

func (t *nodeThread) set(doing string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.doing != "" && doing == "" {
		t.mu.done++
	}
	t.mu.doing = doing
}

// feedbackSuffix is what the uid of a filling or warming phase's feedback ends in; empty for phases that measure.
func feedbackSuffix(c command.Command) string {
	switch c.(type) {
	case command.Load, command.AnnaWarm:
		return ":LOAD"
	case command.Warm, command.AnnaCache:
		return ":WARM"
	}
	return ""
}
