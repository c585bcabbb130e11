package kn

import "sync"

// mailbox is how others speak to a thread: a queue of commands that the thread takes all at once between batches.
// It is not bounded by itself; who puts is: the control actor has one install, a few releases and statistics
// questions under way at a time, and counts gossip.
type mailbox struct {
	wake chan struct{} // one token: there is something
	mu   struct {
		sync.Mutex
		commands []any
	}
	spare []any
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// put adds a command. It never blocks.
func (m *mailbox) put(command any) {
	m.mu.Lock()
	m.mu.commands = append(m.mu.commands, command)
	m.mu.Unlock()
	m.poke()
}

// poke wakes the thread without a command.
func (m *mailbox) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// poked says whether the thread has been woken.
func (m *mailbox) poked() bool { return len(m.wake) > 0 }

// take returns all commands, oldest first, until the next take.
func (m *mailbox) take() []any {
	clear(m.spare)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spare, m.mu.commands = m.mu.commands, m.spare[:0]
	return m.spare
}

// len is the number of commands that wait.
func (m *mailbox) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mu.commands)
}
