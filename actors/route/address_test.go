package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/messages"
)

const deadline = 20 * time.Second

// asker is a client of an address thread over real sockets.
type asker struct {
	t     testing.TB
	codec *messages.Codec
	pull  *runtime.Pull
	push  *runtime.Push
}

func newAsker(t testing.TB, ip, to string) *asker {
	pull, err := runtime.ListenPull("tcp://"+ip+":0", runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := messages.NewCodec(messages.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{t, codec, pull, runtime.NewPush(to, runtime.PushOptions{})}
	t.Cleanup(func() { a.push.Close(0); _ = a.pull.Close() })
	return a
}

// answer is a KeyAddressResponse without its frame.
type answer struct {
	id        string
	code      messages.AnnaError
	addresses map[string][]string
}

func (a *asker) ask(id string, keys ...string) answer {
	a.t.Helper()
	a.send(id, keys...)
	select {
	case b := <-a.pull.Batches():
		defer b.Release()
		r, err := a.codec.DecodeKeyAddressResponse(b.Frames[0])
		if err != nil || len(b.Frames) != 1 {
			a.t.Fatalf("%d answers, %v", len(b.Frames), err)
		}
		defer messages.ReleaseKeyAddressResponse(r)
		got := answer{strings.Clone(r.ResponseId), r.Error, map[string][]string{}}
		for _, x := range r.Addresses {
			var ips []string
			for _, ip := range x.Ips {
				ips = append(ips, strings.Clone(ip))
			}
			got.addresses[strings.Clone(x.Key)] = ips
		}
		return got
	case <-time.After(deadline):
		a.t.Fatal("no answer")
		return answer{}
	}
}

func (a *asker) send(id string, keys ...string) {
	frame := messages.AppendKeyAddressRequest(nil, &messages.KeyAddressRequest{ResponseAddress: a.pull.Address(), RequestId: id, Keys: keys})
	if err := a.push.Send(frame); err != nil {
		a.t.Fatal(err)
	}
}

// startNode starts a routing node at an IP of its own; its DPM does not exist.
func startNode(t *testing.T, ip string) *Node {
	n, err := Start(Options{IP: ip, DPM: "127.77.3.2", Threads: 2, Limits: messages.Limits{MaxKeyBytes: 100}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNodeAnswersEveryKey(t *testing.T) {
	const ip = "127.77.3.4"
	n := startNode(t, ip)
	a := newAsker(t, "127.77.3.50", "tcp://"+ip+":8201")
	if got := a.ask("1", "a", "b"); got.id != "1" || got.code != messages.AnnaError_NO_SERVERS || len(got.addresses) != 2 {
		t.Errorf("without a map: %+v", got)
	}
	m := testMap(t, 1, "127.0.10.100", "127.0.10.101")
	frame, err := messages.ControlFrame("test", &messages.OwnershipCommit{Map: ownership.ToWire(m, "")})
	if err != nil {
		t.Fatal(err)
	}
	control := runtime.NewPush("tcp://"+ip+":8700", runtime.PushOptions{})
	defer control.Close(0)
	if err := control.Send(frame); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(deadline); a.ask("poll", "x").code != messages.AnnaError_NO_ERROR; {
		if time.Now().After(end) {
			t.Fatal("the map does not arrive")
		}
	}
	keys := []string{"a", "\x00\xff"[:1], "never written", "ANNA_METADATA|replication|a"}
	for i := range 200 {
		keys = append(keys, fmt.Sprintf("key %d", i))
	}
	got := a.ask("many", keys...)
	if got.id != "many" || got.code != messages.AnnaError_NO_ERROR || len(got.addresses) != len(keys) {
		t.Fatalf("%d of %d keys, code %v", len(got.addresses), len(keys), got.code)
	}
	for _, key := range keys {
		owner, _ := m.PrimaryOwner(hashring.KeyHash([]byte(key)))
		member, _ := m.Member(owner.Rank)
		if want := fmt.Sprintf("tcp://%s:%d", member.PublicIP, 6400+owner.Thread); !slices.Equal(got.addresses[key], []string{want}) {
			t.Errorf("%q: %v, want %s", key, got.addresses[key], want)
		}
	}
	if got := a.ask("none"); got.id != "none" || got.code != messages.AnnaError_NO_ERROR || len(got.addresses) != 0 {
		t.Errorf("no keys: %+v", got)
	}
	if got := a.ask("empty", "a", ""); got.code != messages.AnnaError_INVALID_REQUEST {
		t.Errorf("an empty key: %+v", got)
	}
	if got := a.ask("long", strings.Repeat("x", 101)); got.code != messages.AnnaError_TOO_LARGE {
		t.Errorf("a long key: %+v", got)
	}
	// What cannot be answered harms nobody.
	for _, frame := range [][]byte{{0xff}, {}, messages.AppendKeyAddressRequest(nil, &messages.KeyAddressRequest{Keys: []string{"a"}}),
		messages.AppendKeyAddressRequest(nil, &messages.KeyAddressRequest{ResponseAddress: "tcp://example.org:1", Keys: []string{"a"}})} {
		if err := a.push.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.ask("after", "a"); got.code != messages.AnnaError_NO_ERROR {
		t.Errorf("after nonsense: %+v", got)
	}
	if m := n.Metrics()[1]; m.Malformed != 3 || m.Dropped != 1 || m.Refused != 2 {
		t.Errorf("%+v", m)
	}
}

func TestNobodyTakesTheAnswers(t *testing.T) {
	const ip = "127.77.3.5"
	startNode(t, ip)
	a := newAsker(t, "127.77.3.51", "tcp://"+ip+":8200")
	for i := range 2000 {
		frame := messages.AppendKeyAddressRequest(nil, &messages.KeyAddressRequest{ResponseAddress: "tcp://127.77.3.99:1", RequestId: fmt.Sprint(i), Keys: []string{"a"}})
		if err := a.push.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.ask("mine", "a"); got.id != "mine" {
		t.Errorf("%+v", got)
	}
}

func TestOccupiedAddress(t *testing.T) {
	startNode(t, "127.77.3.6")
	if n, err := Start(Options{IP: "127.77.3.6", DPM: "127.77.3.2"}); err == nil || !strings.Contains(err.Error(), "127.77.3.6") {
		t.Errorf("%v", err)
		if n != nil {
			_ = n.Close()
		}
	}
}

// newThread makes an address thread with a map whose socket nobody uses.
func newThread(t testing.TB, ip string, members int) *addressThread {
	o := Options{IP: ip, DPM: "127.77.3.2"}
	o.EnsureDefaults()
	codec, err := messages.NewCodec(o.Limits)
	if err != nil {
		t.Fatal(err)
	}
	tab := &table{}
	s := hashring.Spec{Epoch: 1}
	for i := range members {
		ip := fmt.Sprintf("127.0.10.%d", i+1)
		s.Members = append(s.Members, hashring.Member{Rank: hashring.Rank(i + 1), PublicIP: ip, PrivateIP: ip, Threads: 4, Incarnation: 1})
	}
	m, err := hashring.NewMap(s)
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := ownership.NewAddresses(m, messages.PlanDinomo)
	if err != nil {
		t.Fatal(err)
	}
	tab.addresses.Store(addresses)
	thread, err := newAddressThread(&o, 0, codec, tab)
	if err != nil {
		t.Fatal(err)
	}
	go thread.run()
	t.Cleanup(func() { _ = thread.close(0) })
	return thread
}

func TestLookupAllocatesNothing(t *testing.T) {
	if invariant.Enabled {
		t.Skip("builds that check invariants (and race) make pools forget")
	}
	thread := newThread(t, "127.77.3.7", 8)
	frame := messages.AppendKeyAddressRequest(nil, &messages.KeyAddressRequest{ResponseAddress: "tcp://127.77.3.99:1", RequestId: "1", Keys: []string{"a", "b", "c"}})
	once := func() {
		request, err := thread.codec.DecodeKeyAddressRequest(frame)
		if err != nil {
			t.Fatal(err)
		}
		response := thread.respond(request, nil)
		messages.ReleaseKeyAddressResponse(response)
		messages.ReleaseKeyAddressRequest(request)
	}
	if n := testing.AllocsPerRun(200, once); n > 0.05 { // a collection may empty the pools
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkAddressRequest: one thread, requests for 10 keys of 64 nodes, 64 outstanding.
func BenchmarkAddressRequest(b *testing.B) {
	thread := newThread(b, "127.77.3.8", 64)
	a := newAsker(b, "127.77.3.53", thread.pull.Address())
	keys := make([]string, 10)
	for i := range keys {
		keys[i] = fmt.Sprintf("key %d", i)
	}
	const outstanding = 64
	frame := messages.AppendKeyAddressRequest(nil, &messages.KeyAddressRequest{ResponseAddress: a.pull.Address(), RequestId: "1", Keys: keys})
	b.ReportAllocs()
	b.ResetTimer()
	sent, received := 0, 0
	for received < b.N {
		for ; sent < b.N && sent-received < outstanding; sent++ {
			if err := a.push.AppendBytes(frame); err != nil {
				b.Fatal(err)
			}
		}
		a.push.Flush()
		batch := <-a.pull.Batches()
		received += len(batch.Frames)
		batch.Release()
	}
}
