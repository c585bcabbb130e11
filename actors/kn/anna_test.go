package kn

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// monitored starts one node that knows an M-node, which is the test.
func monitored(t *testing.T, tune func(*Options)) (*rig, *Node, *hashring.Map, *client, *peer) {
	r := newRig(t, "tcp")
	boss := r.peer(r.ip(3), messages.MonitorControl)
	r.peer(r.ip(3), messages.MonitorNotify) // so that Close need not linger for it
	o := r.nodeOptions(0)
	o.Monitors = []string{r.ip(3)}
	if tune != nil {
		tune(&o)
	}
	n := r.start(o)
	hello := control1(boss, "a hello", func(*messages.NodeHello) bool { return true })
	if rank, incarnation := n.Rank(); hello.GetRank() != uint32(rank) || hello.GetIncarnation() != incarnation ||
		hello.GetPrivateIp() != o.PrivateIP || hello.GetThreads() != 2 || hello.GetPid() == 0 {
		t.Fatalf("hello: %s", messages.Text(hello))
	}
	m := r.swap(r.spec(n))
	c := r.client()
	c.ready(m)
	return r, n, m, c, boss
}

// TestAnnouncesLikeAnna: the join string goes to routing and M-nodes until the node is in a map.
func TestAnnouncesLikeAnna(t *testing.T) {
	r := newRig(t, "tcp")
	route, boss := r.peer(r.ip(4), messages.RouteNotify), r.peer(r.ip(3), messages.MonitorNotify)
	o := r.nodeOptions(0)
	o.Monitors, o.Routes, o.PublicIP = []string{r.ip(3)}, []string{r.ip(4)}, "10.1.2.3"
	r.start(o)
	want := "join:MEMORY:10.1.2.3:" + o.PrivateIP + ":0"
	for _, p := range []*peer{route, boss} {
		p.wait(want, func(frame []byte) bool { return string(frame) == want })
	}
}

// TestBehindAnnasRoutingNode: all that Anna's own routing node wants of a KN is the join string, and KEY_DNE to its question for a
// key's replication, which are the bytes that it was seen to send but for the address; in Anna's ports.
func TestBehindAnnasRoutingNode(t *testing.T) {
	r := newRig(t, "tcp")
	notify := r.peerOf(messages.PlanAnna, r.ip(4), messages.RouteNotify)
	answers := r.peerOf(messages.PlanAnna, r.ip(4), messages.RouteReplicationResponse)
	o := r.nodeOptions(0)
	o.Plan, o.Routes, o.Threads = messages.PlanAnna, []string{r.ip(4)}, 1
	n := r.start(o)
	join := "join:MEMORY:" + o.PrivateIP + ":" + o.PrivateIP + ":0"
	notify.wait(join, func(frame []byte) bool { return string(frame) == join })
	r.swap(r.spec(n))
	c, requests := r.client(), "tcp://"+o.PrivateIP+":6200"
	c.until("ok", requests, func() *messages.KeyRequest { return remove("k") })
	at := answers.pull.Address()
	question := append([]byte("\x08\x01\x12\x21\x0a\x1dANNA_METADATA|replication|foo\x10\x01\x1a"), byte(len(at)))
	c.raw(requests, append(question, at...))
	answers.wait("the answer", func(frame []byte) bool {
		var a messages.KeyResponse
		if err := a.UnmarshalVT(frame); err != nil {
			t.Fatal(err)
		}
		return a.Type == messages.RequestType_GET && a.ResponseId == "" && len(a.Tuples) == 1 &&
			a.Tuples[0].Key == "ANNA_METADATA|replication|foo" && a.Tuples[0].Error == messages.AnnaError_KEY_DNE
	})
}

func TestStatistics(t *testing.T) {
	r, n, m, c, boss := monitored(t, func(o *Options) { o.ReportPeriod, o.KeyReportPeriod = 30*time.Millisecond, 30*time.Millisecond })
	rank, _ := n.Rank()
	key := keysOf(m, rank, 1, 1)[0]
	at := owner(t, m, key)
	c.ask(at, put(key, "value"))
	for range 200 {
		c.ask(at, get(key))
	}
	c.ask(at, get(keysOf(m, rank, 0, 1)[0]))

	c.tell(n, &messages.StatisticsQuery{ResponseAddress: boss.pull.Address(), RequestId: "q"})
	report := control1(boss, "the statistics", func(m *messages.StatisticsReport) bool { return m.GetRequestId() == "q" })
	if len(report.GetThreads()) != 2 || report.GetEpoch() != 1 {
		t.Fatalf("report: %s", messages.Text(report))
	}
	s := report.GetThreads()[1]
	if s.GetReads() != 200 || s.GetValueHits() != 200 || s.GetWrites() != 1 || s.GetThread() != 1 || s.GetRank() != uint32(rank) ||
		s.GetErrors()["WRONG_THREAD"] < 1 || // requests before the map was installed count as well
		s.GetCacheBytesUsed() == 0 || s.GetVerbs().GetWrites() == 0 || s.GetReadLatencySumNanoseconds() == 0 {
		t.Errorf("thread 1: %s", messages.Text(s))
	}
	if s.GetReads() != s.GetValueHits()+s.GetShortcutHits()+s.GetUnmergedHits()+s.GetMisses() {
		t.Errorf("reads do not add up: %s", messages.Text(s))
	}
	control1(boss, "a regular report", func(m *messages.KnStatistics) bool { return m.GetThread() == 1 && m.GetReads() == 200 })

	// Anna's form: on the M-node's socket, and under metadata keys for whoever asks.
	annas := r.peer(r.ip(3), messages.MonitorStatistics)
	stats := messages.MetadataKey{Kind: messages.MetadataStats, PublicIP: n.o.PublicIP, PrivateIP: n.o.PrivateIP, Thread: 1, Tier: messages.Tier_MEMORY}
	annas.wait("Anna's statistics", func(frame []byte) bool {
		request, err := n.threads[0].codec.DecodeGossip(frame)
		if err != nil {
			t.Fatal(err)
		}
		defer messages.ReleaseKeyRequest(request)
		return slices.ContainsFunc(request.Tuples, func(x *messages.KeyTuple) bool { return x.Key == stats.String() })
	})
	answer := c.ask(at, get(stats.String())).Tuples[0]
	var value messages.ServerThreadStatistics
	if _, err := messages.ParseMetadataPayload(answer.Payload, &value); err != nil || answer.Error != 0 || value.GetEpoch() == 0 {
		t.Errorf("statistics under their key: %s, %v", messages.Text(answer), err)
	}
	access := stats
	access.Kind = messages.MetadataAccess
	c.until("ok", at, func() *messages.KeyRequest {
		for range 50 {
			c.ask(at, get(key))
		}
		return &messages.KeyRequest{Type: messages.RequestType_GET, Tuples: tuples(key)}
	}, func(answer *messages.KeyTuple) string {
		var data messages.KeyAccessData
		if _, err := messages.ParseMetadataPayload(c.ask(at, get(access.String())).Tuples[0].Payload, &data); err != nil {
			return err.Error()
		}
		for _, k := range data.GetKeys() {
			if k.GetKey() == key && k.GetAccessCount() > 0 {
				return "ok"
			}
		}
		return "not hot"
	})
	stats.PrivateIP = "127.9.9.9"
	mustBe(t, show(c.ask(at, get(stats.String())).Tuples[0]), "KEY_DNE")
	mustBe(t, show(c.ask(at, get("ANNA_METADATA|nonsense")).Tuples[0]), "INVALID_REQUEST")
}

// TestStatisticsAreWhereTheirKeyIs: Anna's monitor asks the owner of a metadata key, which is seldom the node that it is about.
func TestStatisticsAreWhereTheirKeyIs(t *testing.T) {
	r := newRig(t, "tcp")
	var nodes []*Node
	for i := range 2 {
		o := r.nodeOptions(i)
		o.ReportPeriod, o.KeyReportPeriod = 30*time.Millisecond, 30*time.Millisecond
		nodes = append(nodes, r.start(o))
	}
	m := r.swap(r.spec(nodes...))
	c := r.client()
	c.ready(m)
	// What nobody of the map can have sent is not kept.
	stranger := messages.MetadataKey{Kind: messages.MetadataStats, PublicIP: "127.9.9.9", PrivateIP: "127.9.9.9", Tier: messages.Tier_MEMORY}
	tooMany := messages.MetadataKey{Kind: messages.MetadataStats, PublicIP: nodes[1].o.PublicIP, PrivateIP: nodes[1].o.PrivateIP, Thread: 2, Tier: messages.Tier_MEMORY}
	for _, key := range []messages.MetadataKey{stranger, tooMany} {
		c.raw(nodes[0].o.address(nodes[0].o.PrivateIP, messages.KNGossip), messages.AppendKeyRequest(nil, put(key.String(), "made up")))
	}
	for _, n := range nodes {
		for thread := range 2 {
			for _, kind := range []messages.MetadataKind{messages.MetadataStats, messages.MetadataAccess, messages.MetadataSize} {
				key := messages.MetadataKey{Kind: kind, PublicIP: n.o.PublicIP, PrivateIP: n.o.PrivateIP, Thread: uint32(thread), Tier: messages.Tier_MEMORY}.String()
				c.until("there", owner(t, m, key), func() *messages.KeyRequest { return get(key) }, func(answer *messages.KeyTuple) string {
					if answer.Error != messages.AnnaError_NO_ERROR || answer.LatticeType != messages.LatticeType_LWW {
						return answer.Error.String()
					}
					return "there"
				})
			}
		}
	}
	at := nodes[0].o.address(nodes[0].o.PrivateIP, messages.KNRequest)
	for _, key := range []messages.MetadataKey{stranger, tooMany} {
		mustBe(t, show(c.ask(at, get(key.String())).Tuples[0]), "KEY_DNE")
	}
	// Who leaves takes his statistics along.
	gone := messages.MetadataKey{Kind: messages.MetadataStats, PublicIP: nodes[1].o.PublicIP, PrivateIP: nodes[1].o.PrivateIP, Tier: messages.Tier_MEMORY}.String()
	if err := nodes[1].Close(); err != nil {
		t.Fatal(err)
	}
	r.swap(r.spec(nodes[0]))
	c.until("KEY_DNE", at, func() *messages.KeyRequest { return get(gone) })
}

func TestReplicationMetadata(t *testing.T) {
	r, n, m, c, boss := monitored(t, nil)
	at := n.o.address(n.o.PrivateIP, messages.KNRequest)
	name := messages.MetadataKey{Kind: messages.MetadataReplication, Key: "hot"}.String()
	mustBe(t, show(c.ask(at, get(name)).Tuples[0]), "KEY_DNE")

	// Writing the key is a wish that the M-nodes hear of; so is a ReplicationFactorUpdate.
	factor := &messages.ReplicationFactor{Key: "hot", Global: []*messages.ReplicationValue{{Tier: messages.Tier_MEMORY, Value: 3}},
		Local: []*messages.ReplicationValue{{Tier: messages.Tier_MEMORY, Value: 2}}}
	payload, err := messages.MetadataPayload(1, factor)
	if err != nil {
		t.Fatal(err)
	}
	wish := &messages.KeyRequest{Type: messages.RequestType_PUT, Tuples: []*messages.KeyTuple{{Key: name, LatticeType: messages.LatticeType_LWW, Payload: payload}}}
	mustBe(t, show(c.ask(at, wish).Tuples[0]), "ok")
	isWish := func(m *messages.ReplicationChange) bool {
		k := m.GetKeys()[0]
		return string(k.GetKey()) == "hot" && k.GetGlobalFactor() == 3 && k.GetLocalFactor() == 2
	}
	control1(boss, "the wish", isWish)
	answers := r.peer(r.ip(5), messages.RouteReplicationResponse)
	update, err := messages.Marshal(&messages.ReplicationFactorUpdate{ResponseAddress: answers.pull.Address(), RequestId: "u", Updates: []*messages.ReplicationFactor{factor}})
	if err != nil {
		t.Fatal(err)
	}
	c.raw(n.o.address(n.o.PrivateIP, messages.KNReplicationChange), update)
	control1(boss, "the wish", isWish)

	// Once a map fulfils it, the answer comes, and the key reads as replicated.
	s := r.spec(n)
	s.Replicated = map[string]hashring.Replication{"hot": {Global: 3, Local: 2}}
	r.swap(s)
	answers.wait("the update's answer", func(frame []byte) bool {
		var a messages.ReplicationFactorUpdateResponse
		return messages.Unmarshal(frame, &a) == nil && a.GetResponseId() == "u"
	})
	got := c.ask(at, get(name)).Tuples[0]
	var read messages.ReplicationFactor
	if _, err := messages.ParseMetadataPayload(got.Payload, &read); err != nil || !messages.Equal(&read, factor) {
		t.Errorf("replication reads as %s (%v)", messages.Text(&read), err)
	}
	_ = m
}

func TestLeavesWhenTold(t *testing.T) {
	r, n, _, c, boss := monitored(t, nil)
	done := r.peer(r.ip(3), messages.MonitorDepartDone)
	asked := r.peer(r.ip(6), messages.MonitorDepartDone)
	c.raw(n.o.address(n.o.PrivateIP, messages.KNSelfDepart), []byte(asked.pull.Address()))
	control1(boss, "a goodbye", func(m *messages.NodeBye) bool { return m.GetPrivateIp() == n.o.PrivateIP })

	empty := newMap(t, r.spec())
	r.prepare(c, boss, n, empty, "p")
	control1(boss, "the answer to the prepare", func(m *messages.OwnershipPrepared) bool { return m.GetOk() })
	r.swap(r.spec())
	c.tell(n, &messages.OwnershipCommit{Map: ownership.ToWire(empty, "test"), ResponseAddress: boss.pull.Address(), RequestId: "c"})
	if err := n.Wait(); err != nil {
		t.Errorf("an orderly leave ended with %v", err)
	}
	want := n.o.PublicIP + "_" + n.o.PrivateIP + "_1"
	for _, p := range []*peer{done, asked} {
		p.wait("the report that it is done", func(frame []byte) bool { return string(frame) == want })
	}
}

// TestAnswersAfterLeaving: a node that has left tells clients so until its farewell is over, rather than letting them wait for ever.
func TestAnswersAfterLeaving(t *testing.T) {
	r, n, m, c, boss := monitored(t, func(o *Options) { o.Farewell = time.Hour })
	done := r.peer(r.ip(3), messages.MonitorDepartDone)
	rank, _ := n.Rank()
	key := keysOf(m, rank, 1, 1)[0]
	at := owner(t, m, key)
	n.Leave()
	control1(boss, "a goodbye", func(*messages.NodeBye) bool { return true })
	empty := newMap(t, r.spec())
	r.prepare(c, boss, n, empty, "p")
	control1(boss, "the answer to the prepare", func(m *messages.OwnershipPrepared) bool { return m.GetOk() })
	r.swap(r.spec())
	c.tell(n, &messages.OwnershipCommit{Map: ownership.ToWire(empty, "test"), ResponseAddress: boss.pull.Address(), RequestId: "c"})
	done.wait("the report that it is done", func([]byte) bool { return true })
	for range 50 {
		for _, request := range []*messages.KeyRequest{get(key), put(key, "v")} {
			answer := c.ask(at, request).Tuples[0]
			if answer.Error != messages.AnnaError_WRONG_THREAD || !answer.Invalidate {
				t.Fatalf("a node that has left answers %s", messages.Text(answer))
			}
		}
	}
}

// TestEvictedNodeSaysSo: a node that a map leaves out without asking it does not pretend to have left in order.
func TestEvictedNodeSaysSo(t *testing.T) {
	r, n, _, _, _ := monitored(t, nil)
	r.swap(r.spec())
	if err := n.Wait(); err == nil {
		t.Error("an evicted node ended without a reason")
	}
}

func TestGossip(t *testing.T) {
	r := newRig(t, "tcp")
	m := r.cluster(2)
	c := r.client()
	c.ready(m)
	// Every key goes to every node's gossip socket; only the owner can store it.
	frame := put()
	var keys []string
	for i := range 40 {
		key := fmt.Sprint("gossip", i)
		keys = append(keys, key)
		frame.Tuples = append(frame.Tuples, put(key, "g").Tuples...)
	}
	c.raw(r.nodes[0].o.address(r.nodes[0].o.PrivateIP, messages.KNGossip), messages.AppendKeyRequest(nil, frame))
	for _, key := range keys {
		c.until("=g", owner(t, m, key), func() *messages.KeyRequest { return get(key) })
	}
}

func TestCachesHearOfTheirKeys(t *testing.T) {
	r := newRig(t, "tcp")
	m := r.cluster(2)
	c := r.client()
	c.ready(m)
	cache := r.peer(r.ip(60), messages.CacheUpdate)
	var keys []string
	for _, member := range m.Members() {
		keys = append(keys, keysOf(m, member.Rank, 1, 1)...)
	}
	payload, err := messages.MetadataPayload(1, &messages.StringSet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	register := &messages.KeyRequest{Type: messages.RequestType_PUT, Tuples: []*messages.KeyTuple{
		{Key: cacheKeyPrefix + r.ip(60), LatticeType: messages.LatticeType_LWW, Payload: payload}}}
	at := r.nodes[0].o.address(r.nodes[0].o.PrivateIP, messages.KNRequest)
	mustBe(t, show(c.ask(at, register).Tuples[0]), "ok")
	// Both nodes learn of it, whichever was told.
	for _, n := range r.nodes {
		c.until("ok", n.o.address(n.o.PrivateIP, messages.KNRequest), func() *messages.KeyRequest { return get(cacheKeyPrefix + r.ip(60)) },
			func(answer *messages.KeyTuple) string {
				var set messages.StringSet
				if _, err := messages.ParseMetadataPayload(answer.Payload, &set); err != nil || len(set.GetKeys()) != 2 {
					return "not yet"
				}
				return "ok"
			})
	}
	for _, key := range keys {
		value := "value of " + key
		got := ""
		for got != value { // a thread takes up the registration a moment after it can be read
			mustBe(t, show(c.ask(owner(t, m, key), put(key, value)).Tuples[0]), "ok")
			select {
			case b := <-cache.pull.Batches():
				update, err := c.codec.DecodeGossip(b.Frames[0])
				if err != nil || !update.Type.IsPut() || update.Tuples[0].Key != key {
					break // of the key before
				}
				v, err := lattice.ParseLWW(update.Tuples[0].Payload, lattice.Options{})
				if err != nil {
					t.Fatal(err)
				}
				got = string(v.Value)
				b.Release()
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// TestFailoverAnswersOnceMerged: the answer is held back until the DPM, which the test is, says that the log is merged.
func TestFailoverAnswersOnceMerged(t *testing.T) {
	var control string
	r, n, _, c, _ := monitored(t, func(o *Options) {
		control = "127.77.200.2"
		o.DPMControl = o.address(control, messages.DPMControl)
	})
	pool := r.peer(control, messages.DPMControl)
	ask := func(question string) chan string {
		answer := make(chan string, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			reply, err := runtime.Request(ctx, n.o.address(n.o.PrivateIP, messages.KNFailover), []byte(question), runtime.ReqOptions{})
			if err != nil {
				reply = []byte(err.Error())
			}
			answer <- string(reply)
		}()
		return answer
	}
	if got := <-ask("MEMORY:nonsense"); got == "" {
		t.Error("nonsense was answered as if it had been merged")
	}
	unknown, failed := ask("MEMORY:8"), ask("MEMORY:7")
	control1(pool, "a question for the ranks", func(*messages.PoolQuery) bool { return true })
	control1(pool, "another one", func(*messages.PoolQuery) bool { return true })
	c.tell(n, &messages.PoolState{RequestId: failoverID, Ranks: []*messages.RankState{{Rank: 7, Incarnation: 4}}})
	if got := <-unknown; got != "" {
		t.Errorf("a rank that the pool does not know: %q", got)
	}
	control1(pool, "a drain", func(m *messages.RankDrain) bool { return m.GetRank() == 7 && m.GetIncarnation() == 4 })
	select {
	case got := <-failed:
		t.Fatalf("answered %q before the log is merged", got)
	default:
	}
	c.tell(n, &messages.RankState{RequestId: failoverID, Rank: 7, Incarnation: 4, Drained: true})
	if got := <-failed; got != "" {
		t.Errorf("merged: %q", got)
	}
}
