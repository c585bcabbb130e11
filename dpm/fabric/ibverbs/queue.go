//go:build rdma && linux && cgo

package ibverbs

import (
	"net"
	"sync"
	"time"
)

// queue hands connected endpoints from a set-up to Accept, and ends those that nobody took.
type queue struct {
	ready  chan *endpoint
	closed chan struct{}
	once   sync.Once
	slots  chan struct{}  // set-ups under way
	busy   sync.WaitGroup // likewise
}

// acceptBackoff is the pause after a failed wait for connections.
const acceptBackoff = 50 * time.Millisecond

// maxSetups bounds the set-ups under way; those above it are turned away without a word.
const maxSetups = 64

func newQueue() *queue {
	return &queue{ready: make(chan *endpoint, maxSetups), closed: make(chan struct{}), slots: make(chan struct{}, maxSetups)}
}

// enter starts a set-up, false when there are too many.
func (q *queue) enter() bool {
	select {
	case q.slots <- struct{}{}:
		q.busy.Add(1)
		return true
	default:
		return false
	}
}

func (q *queue) leave() {
	<-q.slots
	q.busy.Done()
}

// deliver hands over an endpoint. After close it ends it.
func (q *queue) deliver(e *endpoint) error {
	select {
	case q.ready <- e:
		return nil
	case <-q.closed:
		return e.Close()
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case e := <-q.ready:
		return e, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) close() { q.once.Do(func() { close(q.closed) }) }

// drain ends what was delivered and not accepted. No set-up may start any more.
func (q *queue) drain() {
	q.busy.Wait()
	for {
		select {
		case e := <-q.ready:
			_ = e.Close()
			<-e.destroyed
		default:
			return
		}
	}
}
