package conformance

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

var poolID = fabric.PoolID{'c', 'o', 'n', 'f', 'o', 'r', 'm'}

// service is a DPM that admits nearly everybody and answers a few made-up calls.
type service struct {
	gate     chan struct{} // held calls wait for it to be closed
	once     sync.Once
	held     atomic.Int64
	onAdmit  func(s fabric.Session) // before Admit returns
	onCall   func(request []byte, reply []byte) []byte
	reset    func()
	admitted atomic.Int64
	gone     atomic.Int64

	mu struct {
		sync.Mutex
		next        fabric.Rank
		incarnation fabric.Incarnation
	}
}

func newService() *service { return &service{gate: make(chan struct{})} }

func (s *service) openGate() { s.once.Do(func() { close(s.gate) }) }

func (s *service) balance() (admitted, gone int64) { return s.admitted.Load(), s.gone.Load() }

// Identities that Admit refuses.
const (
	refusedIdentity = "nobody wants me"
	fencedIdentity  = "already fenced"
)

// Admit implements fabric.Service.
func (s *service) Admit(h fabric.Hello) (fabric.Session, error) {
	switch {
	case h.Identity == refusedIdentity:
		return fabric.Session{}, fmt.Errorf("all 3 ranks are taken: %w", fabric.ErrRefused)
	case h.Identity == fencedIdentity:
		return fabric.Session{}, fmt.Errorf("rank 9 died: %w", fabric.ErrFenced)
	case h.Pool != fabric.PoolID{} && h.Pool != poolID:
		return fabric.Session{}, fmt.Errorf("this is pool %s: %w", poolID, fabric.ErrWrongPool)
	}
	session := fabric.Session{Pool: poolID, Rank: h.Rank, Incarnation: h.Incarnation, ServerEpoch: 7}
	if h.Rank == 0 {
		s.mu.Lock()
		s.mu.next++
		s.mu.incarnation++
		session.Rank, session.Incarnation = s.mu.next, s.mu.incarnation
		s.mu.Unlock()
	}
	if s.onAdmit != nil {
		s.onAdmit(session)
	}
	s.admitted.Add(1)
	return session, nil
}

// Requests start with one of these.
const (
	callEcho  byte = iota + 1 // answers with the rest of the request
	callMake                  // answers with as many bytes as the u32 that follows says
	callHold                  // waits for the gate
	callHook                  // service.onCall
	callReset                 // makes the pool zero; Serve only
	callStop                  // ends Serve
)

// Call implements fabric.Service.
func (s *service) Call(_ fabric.Session, _ uint16, request, reply []byte) []byte {
	if len(request) == 0 {
		return reply
	}
	switch request[0] {
	case callEcho:
		return append(reply, request[1:]...)
	case callMake:
		n := binary.LittleEndian.Uint32(request[1:])
		for i := range n {
			reply = append(reply, byte(i*7))
		}
	case callHold:
		s.held.Add(1)
		<-s.gate
	case callHook:
		return s.onCall(request[1:], reply)
	case callReset:
		s.reset()
	case callStop:
		s.openGate()
	}
	return reply
}

// Gone implements fabric.Service.
func (s *service) Gone(fabric.Session, uint16) { s.gone.Add(1) }

// testRegion lets a test choose the durability and hold up or fail fences.
type testRegion struct {
	*pmem.File
	durability atomic.Uint32
	failing    atomic.Bool
	holding    atomic.Bool
	fences     atomic.Int64
	flushes    atomic.Int64
	gate       chan struct{}
	once       sync.Once
}

func newTestRegion(f *pmem.File) *testRegion {
	r := &testRegion{File: f, gate: make(chan struct{})}
	r.durability.Store(uint32(pmem.Volatile))
	return r
}

func (r *testRegion) openGate() { r.once.Do(func() { close(r.gate) }) }

// Durability implements pmem.Region.
func (r *testRegion) Durability() pmem.Durability { return pmem.Durability(r.durability.Load()) }

// Flush implements pmem.Region.
func (r *testRegion) Flush(offset, length uint64) { r.flushes.Add(1) }

// Fence implements pmem.Region.
func (r *testRegion) Fence() error {
	r.fences.Add(1)
	if r.holding.Load() {
		<-r.gate
	}
	if r.failing.Load() {
		return fmt.Errorf("the disk is on fire: %w", pmem.ErrReadOnly)
	}
	return nil
}
