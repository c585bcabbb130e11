package dpmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// LWW is the wire number of the last-writer-wins lattice.
const LWW = 1

// patience bounds how long a rig waits for the pool.
const patience = 30 * time.Second

// Rig is a pool that serves verbs, and a KN's session with it.
type Rig struct {
	Path    string
	Pool    *dpm.Pool
	Address string
	Session *remote.Session
	t       testing.TB
}

// SmallShape is a pool of so many segments of 64 KiB.
func SmallShape(segments uint32) format.Shape {
	return format.Shape{SegmentBytes: 64 << 10, Segments: segments, MetadataRecords: 4, MetadataSlotBytes: 512, Ranks: 8, IndirectWords: 64, FilterBytes: 1024}
}

// Start opens the pool that o describes (its Path: a file in the test's own folder unless set) and attaches a KN. The rig
// ends with the test.
func Start(t testing.TB, o dpm.Options) *Rig {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "pool")
	}
	o.Sparse = true
	p, err := dpm.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	l, err := shm.Listen(p.Region(), p.Service(true), fabric.ListenOptions{Address: "127.0.0.1:0", Path: p.Path()})
	if err != nil {
		t.Fatal(err)
	}
	p.Listen(l)
	r := &Rig{Path: o.Path, Pool: p, Address: l.Address(), t: t}
	// A name of its own each time: to a pool that is opened again, this process is the one that had the earlier name.
	r.Session = r.Attach(fmt.Sprintf("127.0.0.%d", 99+p.ServerEpoch()%100))
	return r
}

// Attach makes a session for another node.
func (r *Rig) Attach(identity string) *remote.Session {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pid := uint32(os.Getpid())
	s, err := remote.Dial(ctx, remote.Options{Dialer: shm.Dialer{}, Address: r.Address, Identity: identity, PID: pid, PIDStart: dpm.ProcessStart(pid)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
	return s
}

// Thread attaches one of the KN's threads.
func (r *Rig) Thread(number uint16, o remote.AppenderOptions) *remote.Thread {
	r.t.Helper()
	return r.ThreadOf(r.Session, number, o)
}

// ThreadOf attaches a thread of the session's node.
func (r *Rig) ThreadOf(s *remote.Session, number uint16, o remote.AppenderOptions) *remote.Thread {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	th, err := s.Thread(ctx, number, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = th.Close() })
	return th
}

// Put writes keys and commits them, waiting while the pool is busy. Values are LWW.
func (r *Rig) Put(th *remote.Thread, keysAndValues ...string) {
	r.t.Helper()
	for i := 0; i < len(keysAndValues); i += 2 {
		key, value := []byte(keysAndValues[i]), []byte(keysAndValues[i+1])
		r.Append(th, func() error {
			_, err := th.Put(key, value, LWW, 0)
			return err
		})
	}
	r.Commit(th)
}

// Delete deletes keys and commits.
func (r *Rig) Delete(th *remote.Thread, keys ...string) {
	r.t.Helper()
	for _, key := range keys {
		r.Append(th, func() error {
			_, err := th.Delete([]byte(key), 0)
			return err
		})
	}
	r.Commit(th)
}

// Append calls one Put or Delete until it succeeds: it commits full batches, and waits while the pool is busy.
func (r *Rig) Append(th *remote.Thread, op func() error) {
	r.t.Helper()
	r.eventually(func() error {
		err := op()
		if errors.Is(err, remote.ErrBatchFull) {
			r.Commit(th)
			err = op()
		}
		return err
	}, remote.ErrBusy)
}

// Commit makes the open batch durable.
func (r *Rig) Commit(th *remote.Thread) {
	r.t.Helper()
	if err := th.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// Drain returns when everything that the thread wrote is in the index.
func (r *Rig) Drain(th *remote.Thread) {
	r.t.Helper()
	r.eventually(func() error {
		done, err := th.Drain(0)
		if err == nil && !done {
			err = remote.ErrBusy
		}
		return err
	}, remote.ErrBusy)
}

// Get reads a key through the index, "-" when it is not there.
func (r *Rig) Get(th *remote.Thread, key string) string {
	r.t.Helper()
	g, err := th.Get(index.KeyHash([]byte(key)), []byte(key), 0)
	if errors.Is(err, remote.ErrNotFound) {
		return "-"
	}
	if err != nil {
		r.t.Fatalf("get %s: %v", key, err)
	}
	return string(g.Value)
}

// eventually tries until the error is no longer retry.
func (r *Rig) eventually(try func() error, retry error) {
	r.t.Helper()
	var c clock.Real
	deadline := c.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if !errors.Is(err, retry) || c.Now().After(deadline) {
			r.t.Fatal(err)
		}
		c.Sleep(200 * time.Microsecond)
	}
}

// Value returns length bytes that are different for each seed.
func Value(seed, length int) string {
	return string(bytes.Repeat(fmt.Appendf(nil, "%08d.", seed), length/9+1)[:length])
}
