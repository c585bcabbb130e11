package client

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options configures a Client. Routing is required; the zero value of every other field means its default.
type Options struct {
	// Routing lists the key-address endpoints of routing threads ("tcp://127.0.0.1:8200"); RoutingEndpoints makes them
	// from IPs and a port plan. One is picked at random for each question, another one after silence.
	Routing []string
	// IP is where the client listens, numeric, and what servers connect to. Default 127.0.0.1.
	IP string
	// LocalIP, when valid, is the address of this machine that connections are made from.
	LocalIP netip.Addr
	// Plan and PortOffset choose the two ports: the plan's client rows plus PortOffset. Several clients on one IP need
	// several offsets. AnyPort takes free ports instead; servers do not mind, as every request says where we listen.
	Plan       messages.Plan
	PortOffset int
	AnyPort    bool

	// AttemptTimeout is how long one request may stay unanswered (default 1 s). Not smaller than the longest pause of a
	// healthy server; not larger than what a caller wants to lose when one dies.
	AttemptTimeout time.Duration
	// SpreadWrites sends writes of a key with several owners to any of them, as reads are, instead of to the first. The owners then
	// compete for the key, which costs round trips: it is for tests of that.
	SpreadWrites bool
	// OperationTimeout ends operations of Submit that set no deadline, retries included (default 10 s).
	OperationTimeout time.Duration
	// RetryPauseMin and RetryPauseMax bound the pause before an operation is tried again (1 ms, 200 ms); it doubles
	// each time, with jitter. The first WRONG_THREAD of an operation is followed at once.
	RetryPauseMin, RetryPauseMax time.Duration
	// NoRetry gives writes up whose outcome is unknown; see the package comment.
	NoRetry bool

	// MaxOutstanding is how many operations may be under way (default 4096, at most 65536). Submit refuses more with
	// ErrTooManyOutstanding; synchronous methods wait.
	MaxOutstanding int
	// MaxPayloadBytes is what all of them may hold in keys and payloads together (default 256 MiB).
	MaxPayloadBytes int
	// MaxTuplesPerRequest is how many operations share a request at most (default 64). 1 sends each alone, as Anna does.
	MaxTuplesPerRequest int
	// MaxRequestBytes ends a request early (default 1 MiB); one that has a single tuple may be larger.
	MaxRequestBytes int
	// MaxAnswerBytes is the largest answer that is accepted (default 16 MiB). A request whose answer turns out larger
	// gets none, and its operations are repeated one by one.
	MaxAnswerBytes int
	// CachedAddresses is how many keys' owners are remembered (default 1 Mi, up to 64 bytes each once used).
	CachedAddresses int

	// Seed makes the choices among owners and routing threads repeatable; 0 takes a fresh one.
	Seed uint64
	// Clock is the time for timeouts and timestamps. Default the machine's.
	Clock clock.Clock
	// System holds the sockets. Default runtime.Machine.
	System runtime.System
	// Logf receives lines about peers that misbehave. Nil: silent.
	Logf func(format string, args ...any)
}

// maxOutstanding is what the slot number in a request id has room for.
const maxOutstanding = 1 << slotBits

// EnsureDefaults fills the fields that are zero.
func (o *Options) EnsureDefaults() {
	ensure(&o.IP, "127.0.0.1")
	ensure(&o.AttemptTimeout, time.Second)
	ensure(&o.OperationTimeout, 10*time.Second)
	ensure(&o.RetryPauseMin, time.Millisecond)
	ensure(&o.RetryPauseMax, 200*time.Millisecond)
	ensure(&o.MaxOutstanding, 4096)
	ensure(&o.MaxPayloadBytes, 256<<20)
	ensure(&o.MaxTuplesPerRequest, 64)
	ensure(&o.MaxRequestBytes, 1<<20)
	ensure(&o.MaxAnswerBytes, 16<<20)
	ensure(&o.CachedAddresses, 1<<20)
	if o.Seed == 0 {
		o.Seed = random.FreshSeed()
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.System == nil {
		o.System = runtime.Machine{}
	}
}

func ensure[T comparable](field *T, fallback T) {
	var zero T
	if *field == zero {
		*field = fallback
	}
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	if len(o.Routing) == 0 {
		return fmt.Errorf("client options: no routing threads; give the address of at least one")
	}
	for _, address := range o.Routing {
		if _, err := messages.ParseAddress(address); err != nil {
			return fmt.Errorf("client options: routing thread: %w", err)
		}
	}
	if _, err := messages.ParseIP(o.IP); err != nil {
		return fmt.Errorf("client options: %w", err)
	}
	switch {
	case o.AttemptTimeout < 0 || o.OperationTimeout < 0 || o.RetryPauseMin < 0 || o.RetryPauseMax < o.RetryPauseMin:
		return fmt.Errorf("client options: timeouts and pauses must not be negative, and RetryPauseMax not below RetryPauseMin")
	case o.MaxOutstanding < 1 || o.MaxOutstanding > maxOutstanding:
		return fmt.Errorf("client options: MaxOutstanding is %d; want 1 to %d", o.MaxOutstanding, maxOutstanding)
	case o.MaxTuplesPerRequest < 1 || o.MaxRequestBytes < 1 || o.MaxAnswerBytes < 1 || o.MaxPayloadBytes < 1 || o.CachedAddresses < 1:
		return fmt.Errorf("client options: limits must be positive")
	}
	return nil
}

// listenAt returns the address to bind for a client socket.
func (o *Options) listenAt(s messages.Socket) (string, error) {
	if o.AnyPort {
		return "tcp://" + bracketed(o.IP) + ":0", nil
	}
	a, err := o.Plan.Address(o.IP, s, o.PortOffset)
	if err != nil {
		return "", fmt.Errorf("client options: port offset: %w", err)
	}
	return a.String(), nil
}

// bracketed puts brackets around an IPv6 address.
func bracketed(ip string) string {
	if a, err := messages.ParseIP(ip); err == nil && a.Is6() {
		return "[" + ip + "]"
	}
	return ip
}

// RoutingEndpoints lists the key-address endpoints of so many threads on each of the routing nodes.
func RoutingEndpoints(plan messages.Plan, ips []string, threads int) ([]string, error) {
	var out []string
	for _, ip := range ips {
		for t := range threads {
			a, err := plan.Address(ip, messages.RouteKeyAddress, t)
			if err != nil {
				return nil, fmt.Errorf("routing endpoints: %w", err)
			}
			out = append(out, a.String())
		}
	}
	return out, nil
}
