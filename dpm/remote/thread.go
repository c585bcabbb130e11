package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// Thread is one KN thread's end of the pool. One goroutine owns it, with its Appender and Reader.
type Thread struct {
	*Appender
	*Reader

	session *Session
	number  uint16
	caller  *caller
}

// Thread dials a queue pair for one of the node's threads (0 to NodeThread-1) and attaches its log. It tries
// again until ctx ends, as Dial does.
func (s *Session) Thread(ctx context.Context, number uint16, o AppenderOptions) (*Thread, error) {
	if number == NodeThread {
		return nil, fmt.Errorf("thread %d is the node's own", number)
	}
	c := &caller{}
	reader := newReader(&s.layout, c)
	appender, err := newAppender(&s.layout, c, reader.Table, o)
	if err != nil {
		return nil, err
	}
	t := &Thread{Appender: appender, Reader: reader, session: s, number: number, caller: c}
	if err := t.Reconnect(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Reconnect replaces the thread's queue pair, when it is broken, and settles what was under way: when it
// returns nil, the batch of the last Commit is in the log as a whole (see Entries for where), and reads
// go to the present index. It tries again until ctx ends; ErrFenced and ErrLogLost are final: the process must
// start anew.
func (t *Thread) Reconnect(ctx context.Context) error {
	return t.session.retry(ctx, func() error { return t.ReconnectOnce(ctx) })
}

// ReconnectOnce is one attempt of Reconnect.
func (t *Thread) ReconnectOnce(ctx context.Context) error {
	t.attached = false
	if t.caller.qp != nil {
		_ = t.caller.qp.Close()
		t.caller.qp = nil
	}
	qp, err := t.session.dial(ctx, t.number)
	if err != nil {
		return fmt.Errorf("thread %d: dial: %w", t.number, err)
	}
	t.caller.qp = qp
	t.caller.newTable = 0
	t.forgetRoot() // the pool has forgotten what the old queue pair used
	if err := t.reconnect(); err != nil {
		return fmt.Errorf("thread %d: %w", t.number, err)
	}
	if err := t.FetchRoot(); err != nil {
		return fmt.Errorf("thread %d: %w", t.number, err)
	}
	return nil
}

// Maintain does what would otherwise cost a later operation a round trip: it asks for segments ahead (see
// Appender.Maintain) and follows the index to a new table, so that an idle thread does not hold the memory of an old
// one. Call it when the thread has nothing better to do; mostly it costs nothing.
func (t *Thread) Maintain() error {
	if err := t.Appender.Maintain(); err != nil {
		return err
	}
	return t.Refresh()
}

// QP returns the queue pair in use, for its counters; nil between queue pairs.
func (t *Thread) QP() fabric.QP { return t.caller.qp }

// Close closes the thread's queue pair. What was not committed is lost.
func (t *Thread) Close() error {
	if t.caller.qp == nil {
		return nil
	}
	err := t.caller.qp.Close()
	t.caller.qp, t.attached = nil, false
	return err
}
