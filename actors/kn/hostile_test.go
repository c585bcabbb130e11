package kn

import (
	"context"
	"errors"
	"fmt"
	"net"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/kn/guard"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// TestAnswersToNobody: thousands of answers to addresses where nobody listens are dropped and counted; nobody else notices.
func TestAnswersToNobody(t *testing.T) {
	r := newRig(t, "tcp")
	o := r.nodeOptions(0)
	o.Peers.QueueBytes, o.Peers.MaxPeers = 1<<20, 64
	n := r.start(o)
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	rank, _ := n.Rank()
	key := keysOf(m, rank, 0, 1)[0]
	at := owner(t, m, key)
	mustBe(t, show(c.ask(at, put(key, strings.Repeat("x", 1000))).Tuples[0]), "ok")
	for i := range 3000 {
		request := get(key)
		request.ResponseAddress = fmt.Sprintf("tcp://127.77.%d.200:%d", r.network, 20000+i%200)
		request.RequestId = "nobody"
		c.raw(at, messages.AppendKeyRequest(nil, request))
	}
	for _, odd := range []string{"tcp://example.org:80", "ipc:///tmp/x", "", "tcp://0.0.0.0:1", "tcp://127.0.0.1:0"} {
		request := get(key)
		request.ResponseAddress, request.RequestId = odd, "odd"
		c.raw(at, messages.AppendKeyRequest(nil, request))
	}
	for range 50 {
		if got := show(c.ask(at, get(key)).Tuples[0]); !strings.HasPrefix(got, "=xxx") {
			t.Fatalf("somebody else is answered %.20s", got)
		}
	}
	p := n.threads[0].peers.Metrics()
	if p.QueuedBytes > 4<<20 {
		t.Errorf("%d bytes are queued for nobody", p.QueuedBytes)
	}
	// Every one of them still waits, went with an address that made way, or was refused and is counted for a person to see.
	person := r.peer(r.ip(3), messages.MonitorControl)
	r.eventually("all dropped answers are counted", func() bool {
		p = n.threads[0].peers.Metrics()
		c.tell(n, &messages.StatisticsQuery{ResponseAddress: person.pull.Address(), RequestId: "q"})
		report := control1(person, "the statistics", func(*messages.StatisticsReport) bool { return true })
		return report.GetThreads()[0].GetDroppedAnswers()+uint64(p.FramesDropped)+uint64(p.QueuedBytes/1000) >= 3000+5
	})
}

// TestBadRequests: each gets the error that the protocol names, and the node serves on.
func TestBadRequests(t *testing.T) {
	r := newRig(t, "tcp")
	o := r.nodeOptions(0)
	o.Threads, o.Limits.MaxPayloadBytes, o.Limits.MaxKeyBytes = 1, 100<<10, 100
	n := r.start(o)
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	at := owner(t, m, "k")
	typed := func(kind messages.LatticeType, payload string) *messages.KeyRequest {
		return &messages.KeyRequest{Type: messages.RequestType_PUT, Tuples: []*messages.KeyTuple{{Key: "typed", LatticeType: kind, Payload: []byte(payload)}}}
	}
	set := typed(messages.LatticeType_SET, "\n\x01m")
	mustBe(t, show(c.ask(at, set).Tuples[0]), "ok")
	for _, x := range []struct {
		name    string
		request *messages.KeyRequest
		want    string
	}{
		{"empty key", get(""), "INVALID_REQUEST"},
		{"long key", get(strings.Repeat("k", 101)), "TOO_LARGE"},
		{"large value", put("k", strings.Repeat("v", 101<<10)), "TOO_LARGE"},
		{"no lattice type", typed(messages.LatticeType_NONE, ""), "INVALID_REQUEST"},
		{"unknown lattice type", typed(99, ""), "INVALID_REQUEST"},
		{"malformed payload", typed(messages.LatticeType_LWW, "\xff\xff"), "INVALID_REQUEST"},
		{"another type", put("typed", "v"), "LATTICE"},
		{"unknown type", &messages.KeyRequest{Type: 42, Tuples: tuples("k")}, "INVALID_REQUEST"},
	} {
		answer := c.ask(at, x.request)
		if got := show(answer.Tuples[0]); got != x.want || answer.Tuples[0].Key != x.request.Tuples[0].Key {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	if answer := c.ask(at, &messages.KeyRequest{Type: messages.RequestType_GET}); len(answer.Tuples) != 0 || answer.Error != 0 {
		t.Errorf("no tuples: %s", messages.Text(answer))
	}
	c.raw(at, []byte("\xff\xff\xff"))
	c.raw(at, messages.AppendKeyRequest(nil, put("k", "no address"))) // nowhere to answer to
	mustBe(t, show(c.ask(at, get("k")).Tuples[0]), "KEY_DNE")
	if got := show(c.ask(at, get("typed")).Tuples[0]); got != "ok" {
		t.Errorf("the set reads as %s", got)
	}
}

// TestAnswerTooLargeToSend: values that do not fit one answer are refused rather than never answered.
func TestAnswerTooLargeToSend(t *testing.T) {
	r := newRig(t, "tcp")
	o := r.nodeOptions(0)
	o.Threads, o.Peers.Push.QueueBytes = 1, 300<<10
	n := r.start(o)
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	at := owner(t, m, "k")
	big := strings.Repeat("v", 100<<10)
	for i := range 4 {
		mustBe(t, show(c.ask(at, put(fmt.Sprint("k", i), big)).Tuples[0]), "ok")
	}
	for _, x := range c.ask(at, get("k0", "k1", "k2", "k3")).Tuples {
		mustBe(t, show(x), "TOO_LARGE")
	}
	for _, x := range c.ask(at, get("k0", "k1")).Tuples {
		mustBe(t, show(x), "="+big)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	r := newRig(t, "tcp")
	for _, x := range []struct {
		tune func(*Options)
		want string
	}{
		{func(o *Options) { o.Dialer = nil }, "dialer"},
		{func(o *Options) { o.PrivateIP = "localhost" }, "localhost"},
		{func(o *Options) { o.Threads = 65 }, "65 threads"},
		{func(o *Options) { o.Cache.Policy = "psychic" }, "psychic"},
		{func(o *Options) { o.Monitors = []string{"m-node"} }, "m-node"},
	} {
		o := r.nodeOptions(0)
		x.tune(&o)
		if n, err := Start(context.Background(), o); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("want %q, got %v", x.want, err)
			if n != nil {
				_ = n.Close()
			}
		}
	}
}

func TestOccupiedPort(t *testing.T) {
	for _, socket := range []messages.Socket{messages.KNRequest, messages.KNGossip, messages.KNFailover} {
		r := newRig(t, "tcp")
		o := r.nodeOptions(0)
		a, err := o.Plan.Address(o.PrivateIP, socket, 0)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", a.HostPort())
		if err != nil {
			t.Fatal(err)
		}
		n, err := Start(context.Background(), o)
		if !errors.Is(err, runtime.ErrAddressInUse) || !strings.Contains(err.Error(), a.HostPort()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", socket, err)
		}
		if n != nil {
			_ = n.Close()
		}
		_ = l.Close()
	}
}

// TestWaitsForTheDPM: a node says that it waits, and starts when the pool is there.
func TestWaitsForTheDPM(t *testing.T) {
	r := newRig(t, "tcp")
	_ = r.pool.Close()
	said := make(chan string, 100)
	o := r.nodeOptions(0)
	o.Logf = func(format string, args ...any) {
		select {
		case said <- fmt.Sprintf(format, args...):
		default:
		}
	}
	started := make(chan *Node)
	go func() {
		n, err := Start(context.Background(), o)
		if err != nil {
			t.Error(err)
		}
		started <- n
	}()
	for line := range said {
		if strings.HasPrefix(line, "still waits for the DPM at "+r.address) {
			break
		}
	}
	r.serve()
	n := <-started
	if err := n.Close(); err != nil {
		t.Error(err)
	}

	_ = r.pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, o); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gave up with %v", err)
	}
}

// TestCloseLeavesNothing: no goroutine and no bound port is left behind.
func TestCloseLeavesNothing(t *testing.T) {
	r := newRig(t, "shm")
	before := goruntime.NumGoroutine()
	for i := range 3 {
		n, err := Start(context.Background(), r.nodeOptions(i)) // a process is one run of one node: another address each
		if err != nil {
			t.Fatal(err)
		}
		m := r.swap(r.spec(n))
		c := r.client()
		c.ready(m)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := n.Wait(); err != nil {
			t.Errorf("closed, it ended with %v", err)
		}
		_ = n.Close()
		c.peers.Close(0)
		_ = c.pull.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for goruntime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buffer := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", goruntime.NumGoroutine(), before, buffer[:goruntime.Stack(buffer, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

// TestServedFromCacheAllocatesNothing: a received get of cached keys, from the frame to the queued answer.
func TestServedFromCacheAllocatesNothing(t *testing.T) {
	r := newRig(t, "shm")
	o := r.nodeOptions(0)
	o.Threads = 1
	n := r.start(o)
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	at := owner(t, m, "k")
	var keys []string
	for i := range 16 {
		keys = append(keys, fmt.Sprint("k", i))
		mustBe(t, show(c.ask(at, put(keys[i], strings.Repeat("v", 256))).Tuples[0]), "ok")
	}
	var drained sync.WaitGroup
	drained.Add(1)
	go func() {
		defer drained.Done()
		for b := range c.pull.Batches() {
			b.Release()
		}
	}()
	// The thread's own goroutine has ended; the test serves in its place.
	th := n.threads[0]
	th.mailbox.put(stop{})
	n.serving.Wait()
	request := get(keys...)
	request.ResponseAddress, request.RequestId = c.address, "r"
	frame := messages.AppendKeyRequest(nil, request)
	th.holding.released = make([][]byte, 0, 1)
	hits := th.engine.Counters().ValueHits
	allocs := testing.AllocsPerRun(200, func() {
		th.begin()
		th.receive(frame)
		th.complete()
	})
	if raceEnabled {
		allocs = 0
	}
	if allocs != 0 {
		t.Errorf("16 gets served from the cache allocate %v times", allocs)
	}
	if got := th.engine.Counters().ValueHits - hits; got < 200*16 {
		t.Errorf("only %d value hits", got)
	}
	_ = c.pull.Close()
	drained.Wait()
}

func TestHotKeys(t *testing.T) {
	h := newHotKeys(7)
	for i := range 400_000 {
		key := fmt.Sprint("cold", i%5000)
		switch i % 10 {
		case 0, 1, 2:
			key = "hottest"
		case 3:
			key = "hot"
		}
		h.add([]byte(key), hashring.KeyHash([]byte(key)), len(key))
	}
	top := h.top(3)
	if string(top[0].key) != "hottest" || string(top[1].key) != "hot" {
		t.Fatalf("top keys %s, %s", top[0].key, top[1].key)
	}
	if n := top[0].accesses; n < 110_000 || n > 135_000 {
		t.Errorf("hottest: %d accesses, really 120,000", n)
	}
	if top[2].accesses > 10_000 {
		t.Errorf("%s: %d accesses, really 48", top[2].key, top[2].accesses)
	}
	if len(h.counters) > hotCounters || len(h.byHash) > hotCounters {
		t.Errorf("%d counters, %d hashes", len(h.counters), len(h.byHash))
	}
	h.reset()
	if len(h.top(10)) != 0 {
		t.Error("keys are left after a reset")
	}
	key := []byte("again")
	if n := testing.AllocsPerRun(10000, func() { h.add(key, 5, 5) }); n != 0 && !raceEnabled {
		t.Errorf("counting allocates %v times", n)
	}
}

// TestHotKeysOfAQuietThread: with few accesses all are counted. Sampled, a hot key had hardly any others beside it in the report, and
// of 10 keys none can be above the mean by 3 standard deviations, however hot it is.
func TestHotKeysOfAQuietThread(t *testing.T) {
	h := newHotKeys(7)
	access := func(key string) { h.add([]byte(key), hashring.KeyHash([]byte(key)), len(key)) }
	for period := range 2 {
		for i := range 60 {
			for range 4 {
				access("hot")
			}
			access(fmt.Sprint("cold", i))
		}
		top := h.top(100)
		if len(top) != 61 || string(top[0].key) != "hot" || top[0].accesses != 240 || top[1].accesses != 1 {
			t.Errorf("period %d: %d keys, the first with %d accesses, the second with %d; want 61, 240, 1", period, len(top), top[0].accesses, top[1].accesses)
		}
		h.reset()
	}
}

// FuzzSockets feeds the control actor's sockets with whatever: it must neither panic nor answer to nowhere.
func FuzzSockets(f *testing.F) {
	sockets := []messages.Socket{messages.KNControl, messages.KNJoin, messages.KNDepart, messages.KNSelfDepart, messages.KNReplicationChange,
		messages.KNGossip, messages.KNCacheIPResponse, messages.KNManagementResponse, messages.KNServerResponse}
	f.Add(uint8(1), []byte("MEMORY:127.0.0.1:127.0.0.1:0"))
	f.Add(uint8(2), []byte("MEMORY:127.0.0.1:127.0.0.1"))
	f.Add(uint8(3), []byte("tcp://127.0.0.1:7600"))
	f.Add(uint8(5), messages.AppendKeyRequest(nil, put("k", "v")))
	for _, body := range []messages.Message{
		&messages.StatisticsQuery{ResponseAddress: "tcp://127.0.0.1:1", RequestId: "q"}, &messages.PoolState{Ranks: []*messages.RankState{{Rank: 1}}},
		&messages.OwnershipPrepare{EpochFrom: 0, RequestId: "p", ResponseAddress: "x"}, &messages.OwnershipCommit{}, &messages.OwnershipQuery{ResponseAddress: "x"},
		&messages.StatusQuery{ResponseAddress: "x"}, &messages.RankState{Drained: true},
	} {
		frame, err := messages.Marshal(messages.Envelope("f", body))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(0), frame)
	}
	factor, err := messages.Marshal(&messages.ReplicationFactorUpdate{ResponseAddress: "x", Updates: []*messages.ReplicationFactor{{Key: "k"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(4), factor)
	o := Options{Dialer: deadDialer{}, DPM: "127.0.0.1:1", PrivateIP: "127.0.0.1", Cache: dac.Options{Policy: dac.PolicyNone}, RandomSeed: 1}
	o.EnsureDefaults()
	codec, err := messages.NewCodec(o.Limits)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, socket uint8, frame []byte) {
		c := &control{
			o: &o, self: identity{1, 1}, public: &published{}, finish: func(error) {}, codec: codec, askPool: func(bool, *guard.Swap) {},
			guard: guard.New(guard.Options{Rank: 1, PrivateIP: "127.0.0.1"}), releases: map[string]*gathering{}, epochs: make([]hashring.Epoch, 1),
			threads: []*mailbox{newMailbox()},
		}
		var out runtime.Outbox
		now := time.Unix(1000, 0)
		name := sockets[int(socket)%len(sockets)].String()
		for i := range 3 {
			c.Step(now.Add(time.Duration(i)*time.Second), runtime.Message{Kind: runtime.KindFrame, Socket: name, Frame: frame}, &out)
			c.Step(now.Add(time.Duration(i)*time.Second), runtime.Message{Kind: runtime.KindTick}, &out)
		}
	})
}

// deadDialer reaches nobody.
type deadDialer struct{}

func (deadDialer) Dial(context.Context, string, fabric.DialOptions) (fabric.QP, error) {
	return nil, fabric.ErrBroken
}
