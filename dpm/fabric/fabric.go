package fabric

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Rank is a node's place in the pool's lease table, 1 to MaxRanks-1. Rank 0 asks for one.
type Rank uint32

// MaxRanks bounds how many nodes can be attached to a pool at once.
const MaxRanks = 1024

// Incarnation tells apart the processes that held a rank one after the other. It only grows.
type Incarnation uint32

// SharedThread is the thread number of queue pairs that belong to a node and not to one of its
// threads. Any number of them may be open at once; of every other thread number only one: see Dialer.
const SharedThread = 1<<16 - 1

// PoolID names a pool for ever; it is drawn when the pool is created.
type PoolID [16]byte

// String returns the identity as 32 hex digits.
func (id PoolID) String() string { return fmt.Sprintf("%x", id[:]) }

// Errors of queue pairs and listeners. ErrBroken and ErrTimeout leave the outcome of the batch
// unknown; the others say that the verb they are set on, and those after it, did not happen.
var (
	// ErrBroken: the connection died. The queue pair is of no further use; dial another.
	ErrBroken = errors.New("queue pair is broken")
	// ErrTimeout: no completion in time. The queue pair is broken by it.
	ErrTimeout = errors.New("no completion within the time limit")
	// ErrFlushed: an earlier verb of the batch failed, so this one was not executed.
	ErrFlushed = errors.New("verb was flushed by an earlier failure")
	// ErrBounds: the range is not inside the pool.
	ErrBounds = errors.New("range is outside the pool")
	// ErrMisaligned: an atomic verb's address is not a multiple of 8.
	ErrMisaligned = errors.New("atomic verb at a misaligned address")
	// ErrPermission: this queue pair may not do that (a read-only one writing).
	ErrPermission = errors.New("queue pair lacks the permission")
	// ErrTooLong: more bytes than MaxVerbBytes, more verbs than MaxBatch, more payload than
	// MaxBatchBytes, or a call above MaxCallBytes.
	ErrTooLong = errors.New("verb or batch is too long")
	// ErrUnknownVerb: Kind is none of the verbs.
	ErrUnknownVerb = errors.New("no such verb")
	// ErrFenced: the DPM has fenced this rank and incarnation; the process must start anew.
	ErrFenced = errors.New("rank is fenced")
	// ErrWrongPool: the listener serves another pool, format version or protocol version.
	ErrWrongPool = errors.New("peer serves another pool or version")
	// ErrRefused: the listener does not admit this peer (no free rank, or another reason it names).
	ErrRefused = errors.New("peer refused the connection")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("queue pair is closed")
)

// Limits that hold for every backend.
const (
	MaxVerbBytes     = 16 << 20 // Buffer of one READ or WRITE
	MaxBatch         = 1024     // verbs posted together
	MaxBatchBytes    = 32 << 20 // all Buffers of one batch
	MaxCallBytes     = 1 << 20  // request, and reply, of a Call
	MaxIdentityBytes = 255      // Hello.Identity
	MaxPathBytes     = 4095     // Session.Path
)

// Kind is what a verb does.
type Kind uint8

// The one-sided verbs.
const (
	Read     Kind = iota + 1 // copies pool bytes at Address into Buffer
	Write                    // copies Buffer to the pool at Address
	CAS                      // if the word at Address equals Expect, stores Swap; Result is the word before
	FetchAdd                 // adds Swap to the word at Address; Result is the word before
	Flush                    // makes earlier WRITEs of this queue pair to [Address, Address+Length) durable
	kinds
)

// Kinds is the number of values of Kind, counted from 0, for arrays indexed by it.
const Kinds = int(kinds)

var kindNames = [Kinds]string{Read: "READ", Write: "WRITE", CAS: "CAS", FetchAdd: "FETCH_ADD", Flush: "FLUSH"}

// String returns the verb's usual name.
func (k Kind) String() string {
	if k == 0 || k >= kinds {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// A Verb is one work request. Buffer belongs to the caller and must not be touched by others until
// Post returns. Result and Err are set by Post.
type Verb struct {
	Kind    Kind
	Address uint64
	Buffer  []byte // Read, Write
	Length  uint64 // Flush
	Expect  uint64 // CAS
	Swap    uint64 // CAS, FetchAdd (the addend)
	Result  uint64 // CAS, FetchAdd
	Err     error
}

// Counters are what a queue pair has done since it was dialled. A verb that failed or was flushed
// is not counted; a batch whose first verb is refused costs no round trip; a wait that ended in
// ErrBroken or ErrTimeout counts as a round trip and a failure, and its verbs are not counted.
type Counters struct {
	RoundTrips   uint64        // waits for completions: one a Post, one a Call
	Verbs        [Kinds]uint64 // by Kind
	Calls        uint64
	BytesRead    uint64 // payload of READs and of replies
	BytesWritten uint64 // payload of WRITEs and of requests
	Failures     uint64 // Posts and Calls that returned an error
}

// QP is a queue pair. One goroutine owns it: no two methods may run at the same time, except that
// Close may be called from elsewhere to break a wait.
type QP interface {
	// Post executes verbs in order as one batch and returns when all are complete: one round
	// trip. Words of 8 aligned bytes never tear; there is no atomicity beyond them. A READ after a WRITE of the
	// same queue pair sees it, and one before a WRITE does not. Post returns the first verb's error (wrapped) and
	// sets Err on every verb: nil up to there, ErrFlushed after. A FLUSH whose write-back failed
	// carries pmem.ErrReadOnly. Consecutive FLUSHes succeed or fail together.
	// After ErrBroken or ErrTimeout that error is on every verb of the batch, each of which may or may not
	// have happened (of a WRITE, any of its words), and the queue pair is dead; after ErrClosed likewise.
	// An empty batch costs nothing. Post does not allocate when it succeeds.
	Post(verbs []Verb) error

	// Call sends request to the DPM's processor and waits for its answer, which is appended to
	// reply[:0] and returned: one round trip. Both are at most MaxCallBytes; a request above it is
	// refused with ErrTooLong and the queue pair lives on. What was posted before is visible to the
	// DPM when it serves the call.
	Call(request, reply []byte) ([]byte, error)

	// Counters returns a copy of the counts so far.
	Counters() Counters

	// Session says what the connection was given at dial time.
	Session() Session

	// Close frees the queue pair. It is safe to call twice.
	Close() error
}

// Access says what a queue pair may do to the pool's memory.
type Access uint8

// The two kinds of access.
const (
	ReadOnly Access = iota + 1
	ReadWrite
)

// Hello is what a dialler says of itself.
type Hello struct {
	Rank        Rank        // 0: assign me one (a node's first queue pair)
	Incarnation Incarnation // ignored when Rank is 0
	Thread      uint16
	Access      Access
	Pool        PoolID // all zero: whichever pool is there
	Identity    string // the node's private IP or another stable name, at most 255 bytes
	PID         uint32 // the dialling process, 0 when unknown
	PIDStart    uint64 // its start time from /proc/PID/stat (clock ticks since boot), 0 when unknown
}

// Session is what the listener answers.
type Session struct {
	Pool        PoolID
	PoolBytes   uint64
	Rank        Rank
	Incarnation Incarnation
	// ServerEpoch grows with each start of the DPM: a change tells a KN that the pool went through recovery.
	ServerEpoch uint64
	Durability  pmem.Durability
	// Path is the file to map (shm only).
	Path string
	// Life says whether the DPM that answered is the pool's still (shm only: elsewhere the connection says it).
	Life Life
}

// Life is a word of the pool that another DPM changes before it does anything else. Offset 0: there is none.
type Life struct{ Offset, Word uint64 }

// DialOptions are the dialler's limits.
type DialOptions struct {
	Hello       Hello
	DialTimeout time.Duration // default 5 s
	Timeout     time.Duration // bound on one Post or Call; default 5 s
	// LocalIP, when valid, is the address of this machine that the connection is made from.
	LocalIP netip.Addr
}

// EnsureDefaults fills zero fields.
func (o *DialOptions) EnsureDefaults() {
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Hello.Access == 0 {
		o.Hello.Access = ReadWrite
	}
}

// Dialer makes queue pairs to the listener at address ("ip:port").
//
// A queue pair with the rank, incarnation and thread of an earlier one replaces it (SharedThread
// excepted): before the new one is admitted, the earlier one is dead, its last verb has been
// executed, and the service knows that it is gone. So a thread that dials again after ErrBroken or
// ErrTimeout need not fear that verbs of unknown outcome are executed later.
type Dialer interface {
	Dial(ctx context.Context, address string, o DialOptions) (QP, error)
}

// Service is what a listener asks of the DPM. Its methods may run concurrently.
type Service interface {
	// Admit decides about a new queue pair and fills in the session (rank, incarnation). Errors
	// reach the dialler as ErrRefused, ErrWrongPool or ErrFenced with the error's text.
	Admit(h Hello) (Session, error)
	// Call serves one request of an admitted queue pair and appends the answer to reply[:0]. It
	// must not block for long: it holds up that queue pair, no other.
	Call(s Session, thread uint16, request, reply []byte) []byte
	// Gone tells that an admitted queue pair ended (closed, broken, fenced, or refused after all):
	// once for each Admit that returned nil. No verb or call of it runs any more.
	Gone(s Session, thread uint16)
}

// Listener serves verbs on a region.
type Listener interface {
	// Address returns "ip:port" as bound.
	Address() string
	// Fence kills every queue pair of rank whose incarnation is at most upTo and refuses new ones. When it returns,
	// no verb or call of theirs will change the pool any more, unless Revocable is false. It waits for calls that
	// are being served, so a Service must not fence a rank from within a Call of the same rank.
	Fence(rank Rank, upTo Incarnation) error
	// Revocable says whether Fence really takes the memory away. It is false for shm, whose peers
	// hold a mapping: the DPM quarantines their segments instead until the process is gone.
	Revocable() bool
	// Metrics returns a copy of the counts so far.
	Metrics() Metrics
	// Close breaks every queue pair and returns when none is being served any more.
	Close() error
}

// WordSwapper is a Listener whose queue pairs' atomics are not atomic towards the processor's (RDMA cards of the level ATOMIC_HCA). Whoever
// has the memory at hand changes a word that queue pairs may be changing by CAS through it, and not in place.
type WordSwapper interface {
	// SwapWord is a CAS that is atomic with those of queue pairs. It returns the word before; the swap has happened if that is expect.
	// After an error the outcome is unknown.
	SwapWord(address, expect, swap uint64) (before uint64, err error)
}

// ListenOptions are the listener's limits.
type ListenOptions struct {
	Address        string // "ip:port"; port 0 picks one
	Path           string // the file that peers map (shm only)
	Pool           PoolID // diallers that name another pool are turned away early; all zero: Admit decides alone
	MaxConnections int    // default 4096
	Logf           func(format string, args ...any)
}

// EnsureDefaults fills zero fields.
func (o *ListenOptions) EnsureDefaults() {
	if o.MaxConnections == 0 {
		o.MaxConnections = 4096
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}
