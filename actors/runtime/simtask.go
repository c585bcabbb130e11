package runtime

import (
	"iter"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/invariant"
)

// simTask is a goroutine of a simulated node: a coroutine that the network resumes. One runs at a time, until it sleeps or
// awaits something.
type simTask struct {
	node   *SimNode
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	ready  []func() bool // what it awaits; nil: an event resumes it
	killed bool
}

// taskKilled unwinds the task of a process that has died. Its deferred calls run, which are what the kernel does for a
// dead process: they close connections.
type taskKilled struct{}

// goTask starts f as a task of the node, soon.
func (n *SimNet) goTask(node *SimNode, f func()) {
	t := &simTask{node: node}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer func() {
			if reason := recover(); reason != nil && reason != any(taskKilled{}) {
				panic(reason) // of the code under test: it ends the simulation
			}
		}()
		f()
	})
	n.tasks = append(n.tasks, t)
	n.After(0, func() { node.run(func() { n.resume(t) }) })
}

// resume lets a task go on until it suspends itself.
func (n *SimNet) resume(t *simTask) {
	if t.killed {
		return
	}
	invariant.Check(n.running == nil, "runtime: a simulated task resumes another")
	n.running, t.ready = t, nil
	_, more := t.next()
	n.running = nil
	if !more {
		n.forgetTask(t)
	}
}

func (n *SimNet) forgetTask(t *simTask) {
	n.tasks = slices.DeleteFunc(n.tasks, func(other *simTask) bool { return other == t })
}

// kill ends the tasks of a node that is down.
func (n *SimNet) kill(node *SimNode) {
	for _, t := range slices.Clone(n.tasks) {
		if t.node != node {
			continue
		}
		n.forgetTask(t)
		if t == n.running { // it unwinds when it suspends itself
			t.killed = true
			continue
		}
		was := n.running
		n.running, t.killed = t, true
		t.stop()
		n.running = was
	}
}

func (t *simTask) suspend() {
	if t.killed || !t.yield(struct{}{}) || t.killed {
		t.killed = true
		panic(taskKilled{})
	}
}

// Wait suspends the running task for d, while others run. Outside of tasks it does nothing.
func (n *SimNet) Wait(d time.Duration) {
	t := n.running
	if t == nil {
		return
	}
	n.After(d, func() { t.node.run(func() { n.resume(t) }) })
	t.suspend()
}

// await suspends the running task until one of ready returns true, and says which.
func (n *SimNet) await(ready []func() bool) (first int) {
	first = firstOf(ready)
	t := n.running
	if t == nil || first >= 0 {
		return max(first, 0)
	}
	t.ready = ready
	t.suspend()
	return firstOf(ready)
}

// firstOf returns the first that returns true, -1 when none does.
func firstOf(ready []func() bool) int {
	return slices.IndexFunc(ready, func(f func() bool) bool { return f() })
}

// livelock is how many tasks may go on at one instant before a simulation is stuck.
const livelock = 1_000_000

// settle resumes the tasks whose wait is over, in a random order, until there are none.
func (n *SimNet) settle() {
	for range livelock {
		n.due = n.due[:0]
		for _, t := range n.tasks {
			if t.ready != nil && !t.node.paused && firstOf(t.ready) >= 0 {
				n.due = append(n.due, t)
			}
		}
		switch len(n.due) {
		case 0:
			return
		case 1:
			n.resume(n.due[0])
		default:
			n.resume(n.due[n.rng.IntN(len(n.due))])
		}
	}
	panic("runtime: the tasks of a simulation wake each other for ever")
}

// simClock is a node's clock: the network's, with the node's tasks.
type simClock struct{ node *SimNode }

var _ clock.Tasks = simClock{}

// Now implements clock.Clock.
func (c simClock) Now() time.Time { return c.node.now() }

// Sleep implements clock.Clock.
func (c simClock) Sleep(d time.Duration) { c.node.net.Wait(c.node.span(d)) }

// NewTimer implements clock.Clock.
func (c simClock) NewTimer(d time.Duration) *clock.Timer {
	fired, over := make(chan time.Time, 1), false
	c.node.after(d, func() {
		if !over {
			over = true
			fired <- c.Now()
		}
	})
	return clock.NewTimer(fired, func() bool {
		live := !over
		over = true
		return live
	})
}

// Go implements clock.Tasks.
func (c simClock) Go(f func()) { c.node.net.goTask(c.node, f) }

// Await implements clock.Tasks.
func (c simClock) Await(ready ...func() bool) int { return c.node.net.await(ready) }
