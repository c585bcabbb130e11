package cluster

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// askAgain is the pause between repetitions of a question: a node that is starting answers soon after it is there.
const askAgain = 100 * time.Millisecond

// askLinger is how long Close waits for what was sent to leave.
const askLinger = time.Second

// Asker asks nodes over their control sockets and hears what they say unasked. Its methods may be called from any
// goroutine. Make it with NewAsker.
type Asker struct {
	pull    *runtime.Pull
	peers   *runtime.Peers
	name    string
	clock   clock.Clock
	unasked func(messages.Message)
	done    chan struct{}

	mu struct {
		sync.Mutex
		next    uint64
		waiting map[string]chan messages.Message
	}
}

// NewAsker listens at a free port of ip. unasked gets what answers no question, from one goroutine; nil drops it.
func NewAsker(ip string, unasked func(messages.Message)) (*Asker, error) {
	return newAsker(ip, 0, unasked)
}

func newAsker(ip string, port uint16, unasked func(messages.Message)) (*Asker, error) {
	pull, err := runtime.ListenPull(fmt.Sprintf("tcp://%s:%d", ip, port), runtime.PullOptions{MaxFrameBytes: messages.MaxMessageBytes})
	if err != nil {
		return nil, err
	}
	if unasked == nil {
		unasked = func(messages.Message) {}
	}
	a := &Asker{
		pull: pull, name: ip, clock: clock.Real{}, unasked: unasked, done: make(chan struct{}),
		peers: runtime.NewPeers(runtime.PeersOptions{Push: runtime.PushOptions{DialBackoffMax: 200 * time.Millisecond}}),
	}
	a.mu.waiting = make(map[string]chan messages.Message)
	go a.listen()
	return a, nil
}

// Address is where answers and reports are to be sent.
func (a *Asker) Address() string { return a.pull.Address() }

// Close ends the asker; questions that wait go on until their contexts end.
func (a *Asker) Close() error {
	err := a.pull.Close()
	<-a.done
	a.peers.Close(askLinger)
	return err
}

func (a *Asker) listen() {
	defer close(a.done)
	for batch := range a.pull.Batches() {
		for _, frame := range batch.Frames {
			if m, err := messages.ParseControlFrame(frame); err == nil {
				a.deliver(m)
			}
		}
		batch.Release()
	}
}

func (a *Asker) deliver(m messages.Message) {
	if answer, ok := m.(interface{ GetRequestId() string }); ok {
		a.mu.Lock()
		waiting := a.mu.waiting[answer.GetRequestId()]
		a.mu.Unlock()
		if waiting != nil {
			select {
			case waiting <- m:
			default: // a repeated question's second answer
			}
			return
		}
	}
	a.unasked(m)
}

// Send sends a message to a control socket.
func (a *Asker) Send(address string, m messages.Message) error {
	frame, err := messages.ControlFrame(a.name, m)
	if err != nil {
		return err
	}
	return a.SendFrame(address, frame)
}

// SendFrame sends a frame to any PULL socket: a command line, a churn string.
func (a *Asker) SendFrame(address string, frame []byte) error {
	push, err := a.peers.Get(address)
	if err != nil {
		return err
	}
	return push.Send(frame)
}

// Ask sends the question that question makes of the place to answer to and an id, again and again until it is answered or
// ctx ends.
func (a *Asker) Ask(ctx context.Context, address string, question func(replyTo, id string) messages.Message) (messages.Message, error) {
	answer := make(chan messages.Message, 1)
	a.mu.Lock()
	a.mu.next++
	id := a.name + "?" + strconv.FormatUint(a.mu.next, 10)
	a.mu.waiting[id] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.mu.waiting, id)
		a.mu.Unlock()
	}()
	for {
		// An error is not the end: the node may be starting, and its queue full of earlier attempts.
		sendErr := a.Send(address, question(a.Address(), id))
		timer := a.clock.NewTimer(askAgain)
		select {
		case m := <-answer:
			timer.Stop()
			return m, nil
		case <-ctx.Done():
			timer.Stop()
			if sendErr != nil {
				return nil, fmt.Errorf("ask %s: %w", address, sendErr)
			}
			return nil, fmt.Errorf("no answer from %s: %w", address, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// ask is Ask for an answer of a known type.
func ask[M messages.Message](ctx context.Context, a *Asker, address string, question func(replyTo, id string) messages.Message) (M, error) {
	var none M
	m, err := a.Ask(ctx, address, question)
	if err != nil {
		return none, err
	}
	typed, ok := m.(M)
	if !ok {
		return none, fmt.Errorf("%s answered with %T, want %T", address, m, none)
	}
	return typed, nil
}

// Status asks a node for its StatusReport.
func (a *Asker) Status(ctx context.Context, address, topic string) (*messages.StatusReport, error) {
	return ask[*messages.StatusReport](ctx, a, address, func(replyTo, id string) messages.Message {
		return &messages.StatusQuery{RequestId: id, Topic: topic, ResponseAddress: replyTo}
	})
}

// Statistics asks a KN for the reports of its threads.
func (a *Asker) Statistics(ctx context.Context, address string) (*messages.StatisticsReport, error) {
	return ask[*messages.StatisticsReport](ctx, a, address, func(replyTo, id string) messages.Message {
		return &messages.StatisticsQuery{RequestId: id, ResponseAddress: replyTo}
	})
}

// Pool asks the DPM for its view of itself.
func (a *Asker) Pool(ctx context.Context, address string) (*messages.PoolState, error) {
	return ask[*messages.PoolState](ctx, a, address, func(replyTo, id string) messages.Message {
		return &messages.PoolQuery{RequestId: id, ResponseAddress: replyTo}
	})
}

// Record asks the DPM for a metadata record.
func (a *Asker) Record(ctx context.Context, address, name string) (*messages.MetaState, error) {
	return ask[*messages.MetaState](ctx, a, address, func(replyTo, id string) messages.Message {
		return &messages.MetaRead{RequestId: id, ResponseAddress: replyTo, Name: name}
	})
}
