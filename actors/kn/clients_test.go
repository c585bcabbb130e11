package kn

import (
	"fmt"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// TestClientsThatVanishLeaveNothing: rounds of clients at addresses of their own are answered by both threads and go without a word.
// When they have been given up, the node has as many goroutines, connections and peers as before, however many there were.
func TestClientsThatVanishLeaveNothing(t *testing.T) {
	r := newRig(t, "tcp")
	o := r.nodeOptions(0)
	o.Peers.UnreachableAfter, o.Peers.Push.DialBackoffMax = time.Second, 20*time.Millisecond
	n := r.start(o)
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	rank, _ := n.Rank()
	held := func() (connections, peers int) {
		for _, th := range n.threads {
			connections += int(th.pull.Metrics().Connections)
			peers += th.peers.Metrics().Peers
		}
		return connections, peers
	}
	r.eventually("the client has both connections", func() bool { connections, peers := held(); return connections == 2 && peers == 2 })
	before := goruntime.NumGoroutine()
	for range 4 {
		var passing []*client
		for range 50 {
			p := r.client()
			for thread := range 2 {
				key := keysOf(m, rank, thread, 1)[0]
				mustBe(t, show(p.ask(owner(t, m, key), get(key)).Tuples[0]), "KEY_DNE")
			}
			passing = append(passing, p)
		}
		r.eventually("those of the round before are gone, these are there", func() bool {
			connections, peers := held()
			return connections == 2+100 && peers >= 100
		})
		for _, p := range passing {
			p.peers.Close(0)
			_ = p.pull.Close()
		}
	}
	r.eventually("nothing of them is left", func() bool {
		mustBe(t, show(c.ask(owner(t, m, keysOf(m, rank, 0, 1)[0]), get(keysOf(m, rank, 0, 1)[0])).Tuples[0]), "KEY_DNE")
		mustBe(t, show(c.ask(owner(t, m, keysOf(m, rank, 1, 1)[0]), get(keysOf(m, rank, 1, 1)[0])).Tuples[0]), "KEY_DNE")
		connections, peers := held()
		return connections == 2 && peers == 2 && goruntime.NumGoroutine() <= before
	})
}

// TestClientThatComesBack: a client that vanishes with answers under way and starts again under its address gets the answers to
// its new requests, in its new life's order, ten times over.
func TestClientThatComesBack(t *testing.T) {
	r := newRig(t, "tcp")
	n := r.start(r.nodeOptions(0))
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	at := owner(t, m, "k")
	mustBe(t, show(c.ask(at, put("k", "v")).Tuples[0]), "ok")
	address := c.address
	for life := range 10 {
		c.peers.Close(0)
		if err := c.pull.Close(); err != nil {
			t.Fatal(err)
		}
		pull, err := runtime.ListenPull(address, runtime.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c = &client{t: t, pull: pull, peers: runtime.NewPeers(runtime.PeersOptions{}), address: address, codec: c.codec, serial: 1000 * life}
		defer func(c *client) { c.peers.Close(0); _ = c.pull.Close() }(c)
		for range 20 {
			mustBe(t, show(c.ask(at, get("k")).Tuples[0]), "=v")
		}
		for i := range 20 { // nobody waits for these
			request := get("k")
			request.ResponseAddress, request.RequestId = address, fmt.Sprint("left", i)
			c.raw(at, messages.AppendKeyRequest(nil, request))
		}
	}
}
