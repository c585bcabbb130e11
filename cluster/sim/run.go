package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client/history"
	simfabric "github.com/dinomo-kv/dinomo/dpm/fabric/sim"
	"github.com/dinomo-kv/dinomo/hashring"
)

// Result says how a simulation ended.
type Result string

// The results.
const (
	Passed Result = "passed"
	// Crashed: a task or an actor of the system panicked.
	Crashed Result = "crash"
	// NotLive: after everything was healed, a key was not served in time.
	NotLive Result = "liveness"
	// Incorrect: an invariant does not hold, or the history is not linearizable.
	Incorrect Result = "correctness"
)

// ExitCode is the status that `dinomo sim` ends with.
func (r Result) ExitCode() int {
	return map[Result]int{Passed: 0, Incorrect: 3, NotLive: 4, Crashed: 5}[r]
}

// Report is what a simulation found.
type Report struct {
	Seed       uint64   `json:"seed"`
	Shape      string   `json:"shape"`
	Result     Result   `json:"result"`
	Violations []string `json:"violations,omitempty"`
	// Hash is of the whole history: one seed and one commit give one hash.
	Hash       string         `json:"hash"`
	Operations int            `json:"operations"`
	Outcomes   map[string]int `json:"outcomes"`
	Events     int            `json:"events"`
	Epoch      uint64         `json:"epoch"`
	// VirtualSeconds is how much time passed in the simulation.
	VirtualSeconds float64 `json:"virtual_seconds"`
	// RecoverySeconds is how long it took, after everything was healed, until every key was served.
	RecoverySeconds float64 `json:"recovery_seconds"`

	// Ops is the history.
	Ops []history.Operation `json:"-"`
}

// checkTime bounds the checking of one key, on the machine's clock: a history that takes so long is not decided, which fails.
const checkTime = 20 * time.Second

// Run runs one simulation.
func Run(o Options) (report *Report, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	w := newWorld(o)
	report = &Report{Seed: o.Seed, Shape: o.String(), Result: Passed, Outcomes: map[string]int{}}
	w.logf("seed %d: %s", o.Seed, &o)
	if !w.guarded(report, func() { w.play(report) }) {
		return report, nil
	}
	w.judge(report)
	return report, nil
}

// guarded runs f; a panic of the code under test is a result.
func (w *World) guarded(report *Report, f func()) (ok bool) {
	defer func() {
		if reason := recover(); reason != nil {
			report.Result = Crashed
			report.Violations = append(w.watch.violations, fmt.Sprintf("%.4f s: panic: %v\n%s", w.now().Seconds(), reason, debug.Stack()))
			w.fill(report)
			ok = false
		}
	}()
	f()
	return true
}

// play is the simulation: a start, a time in which things go wrong, and one in which nothing does any more.
func (w *World) play(report *Report) {
	w.driftClocks()
	w.start()
	for range w.o.Clients {
		w.newClient().work()
	}
	w.run(time.Duration(w.rng.Int64N(int64(time.Second)))) // faults may begin before there is a map
	w.misfortune()
	w.run(w.o.Safety)
	w.heal()
	for _, c := range w.clients {
		c.ending = true
	}
	healed := w.now()
	if late := w.serveAll(); len(late) > 0 {
		report.Result = NotLive
		w.watch.violation("liveness: %v after everything was healed this was not done: %s", w.o.Liveness, strings.Join(late, ", "))
		return
	}
	report.RecoverySeconds = (w.now() - healed).Seconds()
	w.run(restTime)
	w.watch.audit()
}

// restTime is how long the pool gets to come to rest: to merge what is left and to take dead segments back.
const restTime = time.Second

// serveAll reads and writes every key until that succeeds, and returns those with which it did not in time.
func (w *World) serveAll() (late []string) {
	c := w.newClient()
	c.ending = true
	missing := map[string]bool{}
	for i := range w.o.Keys {
		for _, kind := range []history.Kind{history.Get, history.Put, history.Get} {
			w.until(c, kind, keyName(i), missing)
		}
	}
	for i := range w.merged {
		for _, key := range w.merged[i].names() {
			w.until(c, history.Get, key, missing)
		}
	}
	w.runUntil(w.o.Liveness, func() bool { return len(missing) == 0 && w.idle() && len(w.strangers()) == 0 })
	late = slices.Sorted(maps.Keys(missing))
	for _, p := range w.strangers() {
		late = append(late, p.name+" in the map")
	}
	return late
}

// strangers lists the KNs that should be members of the map in force, with all threads at its epoch, and are not.
func (w *World) strangers() []*process {
	var all []*process
	m := w.currentMap()
	for _, p := range w.kns {
		if !p.wanted || p.leaving {
			continue
		}
		if p.kn == nil || m == nil || p.kn.Epoch() != m.Epoch() || !isMember(m, p) {
			all = append(all, p)
		}
	}
	return all
}

// isMember says whether a map has the process, in its present run.
func isMember(m *hashring.Map, p *process) bool {
	rank, incarnation := p.kn.Rank()
	member, ok := m.Member(rank)
	return ok && member.Incarnation == incarnation
}

// until repeats an operation until it succeeds; while it has not, it is in missing.
func (w *World) until(c *simClient, kind history.Kind, key string, missing map[string]bool) {
	name := string(kind) + " " + key
	missing[name] = true
	var again func()
	again = func() {
		c.do(kind, key, c.nextValue(kind, key), func(o history.Operation) {
			if o.Outcome == history.OK {
				delete(missing, name)
				return
			}
			w.net.After(50*time.Millisecond, again)
		})
	}
	again()
}

// idle says whether no client waits for an answer.
func (w *World) idle() bool {
	for _, c := range w.clients {
		if c.open > 0 {
			return false
		}
	}
	return true
}

// judge checks the history and fills the report in.
func (w *World) judge(report *Report) {
	w.fill(report)
	verdict := history.Check(w.ops, checkTime, nil)
	for _, bad := range verdict.Bad {
		w.watch.violation("the history of key %s is %s (%d operations) %s", bad.Key, bad.Verdict, bad.Operations, bad.Why)
	}
	report.Outcomes = verdict.Outcomes
	report.Violations = w.watch.violations
	switch {
	case w.net.Panics() > 0:
		report.Result = Crashed
	case report.Result == Passed && len(report.Violations) > 0 || verdict.Verdict != history.Linearizable:
		report.Result = Incorrect
	}
}

func (w *World) fill(report *Report) {
	report.Operations, report.Events, report.Epoch = len(w.ops), w.net.Metrics().Events, uint64(w.epoch())
	report.VirtualSeconds, report.Ops, report.Hash = w.now().Seconds(), w.ops, hashOf(w.ops)
}

// hashOf returns the hash of a history.
func hashOf(ops []history.Operation) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	for i := range ops {
		if err := e.Encode(&ops[i]); err != nil {
			return err.Error()
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// quietVerbs are the fabric's faults when nothing is wrong: none, but long verbs take effect in pieces.
func quietVerbs() simfabric.Faults { return simfabric.Faults{DelayMax: verbDelay, Pieces: 0.2} }
