package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// rig is a pool of this process, served over a real backend, and one node attached to it.
type rig struct {
	t       testing.TB
	backend string
	options dpm.Options
	address string
	pool    *dpm.Pool
	faults  *faults
	session *remote.Session
}

// smallPool has segments so small that tests fill them.
func smallPool() dpm.Options {
	return dpm.Options{Shape: format.Shape{SegmentBytes: 64 << 10, Segments: 256, FilterBytes: 4096}, Sparse: true}
}

func newRig(t testing.TB, backend string, o dpm.Options) *rig {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "pool")
	r := &rig{t: t, backend: backend, options: o, address: "127.0.0.1:0"}
	r.faults = &faults{dialer: tcp.Dialer{}}
	if backend == "shm" {
		r.faults.dialer = shm.Dialer{}
	}
	r.serve()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pid := uint32(os.Getpid())
	s, err := remote.Dial(ctx, remote.Options{
		Dialer: r.faults, Address: r.address, Identity: "127.0.0.1", PID: pid, PIDStart: dpm.ProcessStart(pid), Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.session = s
	t.Cleanup(func() { _ = s.Close() })
	return r
}

// serve opens the pool and listens, again at the same address if it did before.
func (r *rig) serve() {
	r.t.Helper()
	pool, err := dpm.Open(r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool = pool
	r.t.Cleanup(func() { _ = pool.Close() })
	var l fabric.Listener
	if r.backend == "shm" {
		l, err = shm.Listen(pool.Region(), pool.Service(true), fabric.ListenOptions{Address: r.address, Path: pool.Path()})
	} else {
		l, err = tcp.Listen(pool.Region(), pool.Service(false), fabric.ListenOptions{Address: r.address})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	pool.Listen(l)
	r.address = l.Address()
}

// engine opens the engine of a thread; o.Cache defaults to 1 MiB.
func (r *rig) engine(thread uint16, o Options) *Engine {
	r.t.Helper()
	if o.Cache.BudgetBytes == 0 {
		o.Cache.BudgetBytes = 1 << 20
	}
	if o.Logf == nil {
		o.Logf = r.t.Logf
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	e, err := Open(ctx, r.session, thread, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = e.Close() })
	return e
}

// drain waits until everything that e has written is merged.
func (r *rig) drain(e *Engine) {
	r.t.Helper()
	through, done := e.Drain(0)
	r.eventually("everything is merged", func() bool {
		if !done {
			through, done = e.Drain(through)
		}
		return done
	})
}

// eventually waits for a condition, for as long as a slow machine may need.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// faults is a dialer whose queue pairs break when told to, before or after a Post has been carried out.
type faults struct {
	dialer fabric.Dialer
	// posts counts Posts down; the one that makes it 0 breaks its queue pair. 0: never.
	posts atomic.Int64
	// after: the Post that breaks is carried out first.
	after atomic.Bool
	// refuse: no queue pair can be dialled.
	refuse atomic.Bool
}

func (f *faults) Dial(ctx context.Context, address string, o fabric.DialOptions) (fabric.QP, error) {
	if f.refuse.Load() {
		return nil, fmt.Errorf("dial: %w", fabric.ErrBroken)
	}
	qp, err := f.dialer.Dial(ctx, address, o)
	if err != nil {
		return nil, err
	}
	return &faultyQP{QP: qp, faults: f}, nil
}

type faultyQP struct {
	fabric.QP
	faults *faults
	dead   bool
}

func (q *faultyQP) Post(verbs []fabric.Verb) error {
	if !q.dead && q.faults.posts.Load() > 0 && q.faults.posts.Add(-1) == 0 {
		q.dead = true
		if q.faults.after.Load() {
			_ = q.QP.Post(verbs)
		}
	}
	if q.dead {
		return fabric.Abandon(verbs, fabric.ErrBroken)
	}
	return q.QP.Post(verbs)
}

func (q *faultyQP) Call(request, reply []byte) ([]byte, error) {
	if q.dead {
		return nil, fabric.ErrBroken
	}
	return q.QP.Call(request, reply)
}

// batch is a convenient way to run operations: each returns the number to ask Result for.
type batch struct{ e *Engine }

func (e *Engine) batch() batch {
	e.Begin(e.o.Clock.Now())
	return batch{e}
}

func (b batch) get(key string) int {
	k := []byte(key)
	hash := hashring.KeyHash(k)
	var r dac.Result
	hit := b.e.Probe(k, hash, &r)
	if hit {
		return b.e.AddHit(r)
	}
	return b.e.AddGet(k, hash, r)
}

func (b batch) put(key, value string) int {
	return b.merge(key, lattice.LWW, lattice.LWWValue{Value: []byte(value)}.Append([]byte{}))
}

func (b batch) merge(key string, t lattice.Type, payload []byte) int {
	return b.e.AddPut([]byte(key), hashring.KeyHash([]byte(key)), t, payload)
}

func (b batch) delete(key string) int {
	return b.e.AddDelete([]byte(key), hashring.KeyHash([]byte(key)))
}

// show is a result as tests compare it: the error's name, or the value, "-" for none.
func (e *Engine) show(i int) string {
	r := e.Result(i)
	switch {
	case r.Code != 0:
		return r.Code.String()
	case e.ops[i].kind != opGet:
		return "ok"
	case r.Lattice == lattice.LWW:
		v, err := lattice.ParseLWW(r.Value, lattice.Options{})
		if err != nil {
			return err.Error()
		}
		return "=" + string(v.Value)
	default:
		return fmt.Sprintf("%v %x", r.Lattice, r.Value)
	}
}

// one runs a single operation.
func (e *Engine) one(add func(b batch) int) string {
	b := e.batch()
	i := add(b)
	e.Run()
	return e.show(i)
}

func (e *Engine) get1(key string) string {
	return e.one(func(b batch) int { return b.get(key) })
}

func (e *Engine) put1(key, value string) string {
	return e.one(func(b batch) int { return b.put(key, value) })
}

func (e *Engine) delete1(key string) string {
	return e.one(func(b batch) int { return b.delete(key) })
}

// noCache makes every read go to the pool.
var noCache = dac.Options{Policy: dac.PolicyNone}
