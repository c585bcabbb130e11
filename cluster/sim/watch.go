package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/kn"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// watcher holds what is checked all the time.
type watcher struct {
	w          *World
	violations []string
	maps       map[uint64]string // epoch -> the map, as it was first seen (RING-1)
	version    uint64            // of the ownership record, in the pool (RING-2)
	keys       [][]byte
	served     []server // room to work in
	// hook sees frames of scenarios; nil: nobody does.
	hook func(from, to string, body messages.Message, frame []byte) (pass bool)
}

// server is a thread that would serve a key.
type server struct {
	name string
	kn.Served
}

// watchEvery is how often the nodes are looked into.
const watchEvery = 500 * time.Microsecond

// mostViolations bounds what is kept: the first one is what matters.
const mostViolations = 20

func (c *watcher) init(w *World) {
	c.w, c.maps = w, map[uint64]string{}
	for i := range w.o.Keys {
		c.keys = append(c.keys, []byte(keyName(i)))
	}
	for i := range w.merged {
		c.keys = append(c.keys, []byte(w.merged[i].name())) // as retire expects
	}
}

// violation notes that something is wrong.
func (c *watcher) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(c.violations) >= mostViolations || slices.ContainsFunc(c.violations, func(v string) bool { return strings.HasSuffix(v, text) }) {
		return
	}
	text = fmt.Sprintf("%.4f s: %s", c.w.now().Seconds(), text)
	c.violations = append(c.violations, text)
	c.w.logf("VIOLATION: %s", text)
}

// intercept looks at every frame that is handed over.
func (c *watcher) intercept(from, to string, frame []byte) (pass bool) {
	body, err := messages.ParseControlFrame(frame)
	if err != nil {
		body = nil // of the request plane, or one of Anna's
	}
	if commit, ok := body.(*messages.OwnershipCommit); ok {
		c.sawMap(from, commit.GetMap())
	}
	return c.hook == nil || c.hook(from, to, body, frame)
}

// sawMap checks that an epoch is one map (RING-1).
func (c *watcher) sawMap(from string, wire *messages.OwnershipMap) {
	m, err := ownership.FromWire(wire, nil)
	if err != nil {
		c.violation("%s sends a map that is none: %v", from, err)
		return
	}
	text := fmt.Sprint(m.Spec())
	if known, ok := c.maps[wire.GetEpoch()]; !ok {
		c.maps[wire.GetEpoch()] = text
	} else if known != text {
		c.violation("RING-1: epoch %d is %s and, from %s, %s", wire.GetEpoch(), known, from, text)
	}
}

// poolOpened checks the pool's record after a start (RING-2).
func (c *watcher) poolOpened(p *dpm.Pool) {
	_, version, err := p.MetaGet(ownership.RecordName)
	if err == nil && version < c.version {
		c.violation("RING-2: after its restart the pool holds epoch %d; it was %d", version, c.version)
	}
	if err != nil && c.version > 0 {
		c.violation("RING-2: after its restart the pool has no map (%v); it was epoch %d", err, c.version)
	}
}

// swapped checks that what a KN's CAS has moved is not the DPM's own: those two must never race on a word.
func (c *watcher) swapped(address uint64) {
	if d := c.w.dpm.dpm; d != nil && d.Pool().FreeWord(address) {
		c.violation("a KN moved the indirect-pointer word at %#x, which is free", address)
	}
}

// look checks the nodes.
func (c *watcher) look() {
	if n := c.w.net.Panics(); n > 0 {
		c.violation("an actor panicked")
	}
	if d := c.w.dpm.dpm; d != nil {
		if _, version, err := d.Pool().MetaGet(ownership.RecordName); err == nil {
			if version < c.version {
				c.violation("RING-2: the pool's epoch went from %d to %d", c.version, version)
			}
			c.version = version
		}
	}
	for _, key := range c.keys {
		c.lookAt(key)
	}
}

// lookAt checks that the threads which would serve a key know of each other (OWN-1).
func (c *watcher) lookAt(key []byte) {
	c.served = c.served[:0]
	for _, p := range c.w.kns {
		if p.kn == nil || p.node.Paused() {
			continue // what it would do it does not do now
		}
		for _, s := range p.kn.Serving(key) {
			c.served = append(c.served, server{p.name, s})
		}
	}
	for i := range c.served {
		for j := range i {
			a, b := &c.served[i], &c.served[j]
			if !slices.Contains(a.Owners, b.Owner) || !slices.Contains(b.Owners, a.Owner) {
				c.violation("OWN-1: %s (epoch %d) and %s (epoch %d) both serve %s", a.say(), a.Epoch, b.say(), b.Epoch, key)
			}
		}
	}
}

func (s *server) say() string { return fmt.Sprintf("%s thread %d", s.name, s.Owner.Thread) }

// owners lists who serves a key now, by name.
func (c *watcher) owners(key string) []string {
	var names []string
	c.lookAt([]byte(key))
	for i := range c.served {
		names = append(names, c.served[i].name)
	}
	return slices.Compact(names)
}

// epoch is the map in force as the pool has it; 0 when there is none, or no pool.
func (w *World) epoch() hashring.Epoch {
	if w.dpm.dpm == nil {
		return 0
	}
	_, version, err := w.dpm.dpm.Pool().MetaGet(ownership.RecordName)
	if err != nil {
		return 0
	}
	return hashring.Epoch(version)
}

// currentMap is the map in force, nil when there is none.
func (w *World) currentMap() *hashring.Map {
	if w.dpm.dpm == nil {
		return nil
	}
	record, version, err := w.dpm.dpm.Pool().MetaGet(ownership.RecordName)
	if err != nil {
		return nil
	}
	m, err := ownership.Decode(record, version, nil)
	if err != nil {
		w.watch.violation("the pool's map: %v", err)
		return nil
	}
	return m
}

// audit checks the pool's accounting. The pool must be at rest.
func (c *watcher) audit() {
	if c.w.dpm.dpm == nil {
		c.violation("there is no pool to audit")
		return
	}
	for _, problem := range c.w.dpm.dpm.Pool().Audit() {
		c.violation("pool: %s", problem)
	}
}
