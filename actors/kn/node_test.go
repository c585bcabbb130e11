package kn

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

func mustBe(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTwoNodesServe(t *testing.T) {
	for _, backend := range []string{"tcp", "shm"} {
		t.Run(backend, func(t *testing.T) {
			r := newRig(t, backend)
			m := r.cluster(2)
			c := r.client()
			c.ready(m)
			for i := range 200 {
				key := fmt.Sprint("k", i)
				at := owner(t, m, key)
				mustBe(t, show(c.ask(at, put(key, fmt.Sprint("v", i))).Tuples[0]), "ok")
			}
			for i := range 200 {
				key := fmt.Sprint("k", i)
				at := owner(t, m, key)
				mustBe(t, show(c.ask(at, get(key)).Tuples[0]), fmt.Sprint("=v", i))
				if i%10 == 0 {
					mustBe(t, show(c.ask(at, remove(key)).Tuples[0]), "ok")
					mustBe(t, show(c.ask(at, get(key)).Tuples[0]), "KEY_DNE")
				}
			}
		})
	}
}

func TestAnswersCarryWhatClientsNeed(t *testing.T) {
	r := newRig(t, "tcp")
	m := r.cluster(1)
	n := r.nodes[0]
	rank, _ := n.Rank()
	mine, other := keysOf(m, rank, 0, 3), keysOf(m, rank, 1, 1)[0]
	at := owner(t, m, mine[0])
	c := r.client()
	c.ready(m)
	mustBe(t, show(c.ask(at, put(mine[0], "a")).Tuples[0]), "ok")

	answer := c.ask(at, get(mine[0], other, mine[1], ""))
	if answer.Type != messages.RequestType_GET || answer.Error != messages.AnnaError_NO_ERROR || len(answer.Tuples) != 4 {
		t.Fatalf("answer %s", messages.Text(answer))
	}
	for i, want := range []string{"=a", "WRONG_THREAD", "KEY_DNE", "INVALID_REQUEST"} {
		mustBe(t, show(answer.Tuples[i]), want)
	}
	for i, key := range []string{mine[0], other, mine[1], ""} {
		mustBe(t, answer.Tuples[i].Key, key)
	}
	wrong := answer.Tuples[1]
	if !wrong.Invalidate || len(wrong.Ips) != 1 || wrong.Ips[0] != owner(t, m, other) {
		t.Errorf("wrong thread's tuple: %s", messages.Text(wrong))
	}
	if answer.Tuples[0].LatticeType != messages.LatticeType_LWW || answer.Tuples[0].Invalidate {
		t.Errorf("good tuple: %s", messages.Text(answer.Tuples[0]))
	}

	// The client knows more owners than there are.
	request := get(mine[0])
	request.Tuples[0].AddressCacheSize = 2
	if got := c.ask(at, request).Tuples[0]; !got.Invalidate || show(got) != "=a" {
		t.Errorf("address cache size 2: %s", messages.Text(got))
	}
	request = get(mine[0])
	request.Tuples[0].AddressCacheSize = 1
	if got := c.ask(at, request).Tuples[0]; got.Invalidate {
		t.Errorf("address cache size 1: %s", messages.Text(got))
	}

	// Refused as a whole.
	request = get(mine[0])
	request.Type = 77
	if got := c.ask(at, request); got.Error != messages.AnnaError_INVALID_REQUEST || got.Tuples[0].Key != mine[0] {
		t.Errorf("unknown type: %s", messages.Text(got))
	}
	c.raw(at, []byte("garbage"))
	mustBe(t, show(c.ask(at, get(mine[0])).Tuples[0]), "=a")
}

// TestNoMapNoService: before a map has the node, nobody is answered but with WRONG_THREAD.
func TestNoMapNoService(t *testing.T) {
	r := newRig(t, "tcp")
	n := r.start(r.nodeOptions(0))
	c := r.client()
	at := n.o.address(n.o.PrivateIP, messages.KNRequest)
	answer := c.ask(at, get("k")).Tuples[0]
	if answer.Error != messages.AnnaError_WRONG_THREAD || !answer.Invalidate {
		t.Errorf("without a map: %s", messages.Text(answer))
	}
	// A map with an earlier run of the node is not this one's.
	s := r.spec(n)
	s.Members[0].Incarnation--
	if s.Members[0].Incarnation > 0 {
		r.swap(s)
		mustBe(t, show(c.ask(at, put("k", "v")).Tuples[0]), "WRONG_THREAD")
	}
	m := r.swap(r.spec(n))
	key := keysOf(m, hashring.Rank(n.session.Rank()), 0, 1)[0]
	c.until("ok", at, func() *messages.KeyRequest { return put(key, "v") })
}
