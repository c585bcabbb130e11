package kn

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// TestQuickGetsAnswerAsOthersDo: what is served as hits, wholly or up to the first miss, is answered like the same request
// with a field that sends it the general way.
func TestQuickGetsAnswerAsOthersDo(t *testing.T) {
	rng := random.New(random.Seed(t))
	r := newRig(t, "shm")
	o := r.nodeOptions(0)
	o.Threads, o.Cache.BudgetBytes = 2, 512<<10
	n := r.start(o)
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	rank := hashring.Rank(n.session.Rank())
	mine, other := keysOf(m, rank, 0, 700), keysOf(m, rank, 1, 10)
	at := owner(t, m, mine[0])
	for i, key := range mine[:600] { // more than the cache has room for; the rest does not exist
		mustBe(t, show(c.ask(at, put(key, fmt.Sprint(i, strings.Repeat("v", 1000)))).Tuples[0]), "ok")
	}
	for range 400 {
		request := someGets(rng, mine, other)
		quick := c.ask(at, request)
		request.Tuples[rng.IntN(len(request.Tuples))].Error = messages.AnnaError_TIMEOUT // of which a request's reader takes no notice
		slow := c.ask(at, request)
		if len(quick.Tuples) != len(slow.Tuples) || quick.Type != slow.Type {
			t.Fatalf("%s of %d keys is answered as %s with %d and as %s with %d", request.Type, len(request.Tuples), quick.Type, len(quick.Tuples),
				slow.Type, len(slow.Tuples))
		}
		for i, tuple := range quick.Tuples {
			if !messages.Equal(tuple, slow.Tuples[i]) {
				t.Fatalf("%s is answered\n%.200s\nand otherwise\n%.200s", messages.Text(request.Tuples[i]), messages.Text(tuple), messages.Text(slow.Tuples[i]))
			}
		}
	}
	counters := n.threads[0].engine.Counters()
	if counters.ValueHits < 100 || counters.Misses+counters.ShortcutHits+counters.UnmergedHits < 100 {
		t.Errorf("no fair share of hits and misses: %+v", counters)
	}
}

// someGets asks for up to 20 keys, mostly for those that are asked for often and therefore cached.
func someGets(rng *rand.Rand, mine, other []string) *messages.KeyRequest {
	request := get()
	request.Type = []messages.RequestType{messages.RequestType_GET, messages.RequestType_READ}[rng.IntN(2)]
	for range 1 + rng.IntN(20) {
		key := mine[rng.IntN(20)]
		switch rng.IntN(20) {
		case 0, 1, 2:
			key = mine[rng.IntN(len(mine))]
		case 3:
			key = other[rng.IntN(len(other))]
		case 4:
			key = messages.MetadataKey{Kind: messages.MetadataReplication, Key: mine[0]}.String()
		}
		request.Tuples = append(request.Tuples, &messages.KeyTuple{Key: key, AddressCacheSize: uint32(rng.IntN(4))})
	}
	return request
}
