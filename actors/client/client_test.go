package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// start returns a fake cluster and a client of it.
func start(t testing.TB, threads int, o client.Options) (*clienttest.Cluster, *client.Client) {
	t.Helper()
	cluster, err := clienttest.Start(clienttest.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	o.Routing, o.AnyPort = []string{cluster.Routing()}, true
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return cluster, c
}

// within is a context that ends late enough not to matter.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// until returns a context that is cancelled when count has grown.
func until(t testing.TB, count func() int) context.Context {
	before := count()
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		for count() == before && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	return ctx
}

func TestGetPutDelete(t *testing.T) {
	_, c := start(t, 3, client.Options{})
	ctx := within(t)
	if _, err := c.Get(ctx, "a"); !errors.Is(err, messages.ErrKeyDoesNotExist) {
		t.Fatalf("get of a missing key: %v", err)
	}
	for _, value := range []string{"1", "", strings.Repeat("x", 1<<20), "2"} {
		if err := c.Put(ctx, "a", []byte(value)); err != nil {
			t.Fatal(err)
		}
		got, err := c.Get(ctx, "a")
		if err != nil || string(got) != value {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(value))
		}
	}
	if err := errors.Join(c.Insert(ctx, "b", []byte("i")), c.Update(ctx, "b", []byte("u"))); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, "a"); err != nil { // idempotent
		t.Fatalf("second delete: %v", err)
	}
	if got, err := c.Get(ctx, "b"); err != nil || string(got) != "u" {
		t.Fatalf("b = %q, %v", got, err)
	}
	for _, bad := range []client.Operation{{Key: "a"}, {Type: messages.RequestType_GET}, {Type: 77, Key: "a"},
		{Type: messages.RequestType_PUT, Key: "a", Payload: []byte{}, Lattice: 9}} {
		if out := c.Do(ctx, bad); !errors.Is(out[0].Err, messages.ErrInvalidRequest) {
			t.Errorf("%+v: %v", bad, out[0].Err)
		}
	}
}

func TestManyKeysAtOnce(t *testing.T) {
	cluster, c := start(t, 4, client.Options{MaxOutstanding: 100, MaxTuplesPerRequest: 16, AttemptTimeout: 10 * time.Second})
	ctx := within(t)
	for thread := range 4 { // operations that wait for a connection go on one by one
		cluster.SetOwners(fmt.Sprint("first", thread), thread)
		if err := c.Put(ctx, fmt.Sprint("first", thread), nil); err != nil {
			t.Fatal(err)
		}
	}
	requestsBefore, tuplesBefore, questionsBefore := cluster.Counts()
	var pairs []client.Pair
	var keys []string
	for i := range 1000 {
		key := fmt.Sprint("key", i)
		keys = append(keys, key)
		pairs = append(pairs, client.Pair{Key: key, Value: []byte(key + "'s value")})
	}
	if err := errors.Join(c.MultiPut(ctx, pairs...)...); err != nil {
		t.Fatal(err)
	}
	for i, out := range c.MultiGet(ctx, keys...) {
		if value, err := out.Value(); err != nil || string(value) != keys[i]+"'s value" {
			t.Fatalf("%s = %q, %v", keys[i], value, err)
		}
	}
	requests, tuples, questions := cluster.Counts()
	requests, tuples, questions = requests-requestsBefore, tuples-tuplesBefore, questions-questionsBefore
	// They set out in groups of a quarter of what may be outstanding, at least: 25 operations for 4 owners, 16 to a request.
	// Not all owners are known before the first answer comes, whenever that is, but each group asks for its own at once.
	if groups := 2 * 1000 / 25; tuples != 2000 || requests > 5*groups || questions > groups {
		t.Errorf("%d tuples in %d requests after %d questions: they did not travel together", tuples, requests, questions)
	}
}

func TestLattices(t *testing.T) {
	_, c := start(t, 2, client.Options{})
	ctx := within(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.PutSet(ctx, "set", []byte("b"), []byte("a")))
	must(c.PutSet(ctx, "set", []byte("c"), []byte("a")))
	set, err := c.GetSet(ctx, "set")
	if must(err); string(bytes.Join(set, []byte(","))) != "a,b,c" {
		t.Errorf("set %q", set)
	}
	must(c.PutOrderedSet(ctx, "ordered", []byte("z"), []byte("y")))
	if ordered, err := c.GetOrderedSet(ctx, "ordered"); err != nil || len(ordered) != 2 || string(ordered[0]) != "y" {
		t.Errorf("ordered set %q, %v", ordered, err)
	}
	must(c.PutPriority(ctx, "p", 3, []byte("three")))
	must(c.PutPriority(ctx, "p", 2, []byte("two")))
	must(c.PutPriority(ctx, "p", 7, []byte("seven")))
	if p, err := c.GetPriority(ctx, "p"); err != nil || p.Priority != 2 || string(p.Value) != "two" {
		t.Errorf("priority %v, %v", p, err)
	}
	for _, kind := range []lattice.Type{lattice.SingleCausal, lattice.MultiCausal} {
		key := kind.String()
		for _, who := range []string{"x", "y"} {
			must(c.PutCausal(ctx, key, lattice.CausalValue{Type: kind, Clock: lattice.Clock{{Name: who, Counter: 1}}, Values: [][]byte{[]byte(who)}}))
		}
		if v, err := c.GetCausal(ctx, key, kind); err != nil || len(v.Clock) != 2 || len(v.Values) != 2 {
			t.Errorf("%s: %v, %v", key, v, err)
		}
	}
	if err := c.Put(ctx, "set", []byte("x")); !errors.Is(err, messages.ErrLattice) {
		t.Errorf("put of another type: %v", err)
	}
	if _, err := c.Get(ctx, "set"); !errors.Is(err, messages.ErrLattice) {
		t.Errorf("get of another type: %v", err)
	}
	if _, err := c.GetPriority(ctx, "set"); !errors.Is(err, messages.ErrLattice) {
		t.Errorf("get of another type: %v", err)
	}
}

func TestOwnershipMoves(t *testing.T) {
	cluster, c := start(t, 3, client.Options{AttemptTimeout: 10 * time.Second})
	ctx := within(t)
	for i := range 30 {
		if i%3 == 0 {
			cluster.Move(1)
		}
		key := fmt.Sprint("k", i%7)
		if err := c.Put(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get(ctx, key); err != nil || string(got) != key {
			t.Fatalf("%q, %v", got, err)
		}
	}
	m := c.Metrics()
	if m.WrongThreads == 0 || m.AttemptTimeouts != 0 {
		t.Errorf("%+v", m)
	}
	// Replication: answers of one owner tell of the others.
	cluster.SetOwners("hot", 0)
	if err := c.Put(ctx, "hot", []byte("1")); err != nil {
		t.Fatal(err)
	}
	cluster.SetOwners("hot", 0, 1, 2)
	for range 20 {
		if got, err := c.Get(ctx, "hot"); err != nil || string(got) != "1" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if n := c.Metrics().Invalidations; n != 1 {
		t.Errorf("%d invalidations, want 1", n)
	}
}

// soon is when a test that waits for no answer gives an attempt up.
const soon = 100 * time.Millisecond

func TestSilentOwner(t *testing.T) {
	cluster, c := start(t, 2, client.Options{AttemptTimeout: soon})
	cluster.SetOwners("a", 0)
	cluster.Mute(0, true)
	sent := func() int { return int(c.Metrics().Requests) }
	ctx := until(t, sent)
	_, err := c.Get(ctx, "a")
	if !errors.Is(err, context.Canceled) || client.OutcomeUnknown(err) || !strings.Contains(err.Error(), "KN did not answer") {
		t.Fatalf("get: %v", err)
	}
	err = c.Put(ctx, "a", []byte("1"))
	if !errors.Is(err, context.Canceled) || client.OutcomeUnknown(err) {
		t.Fatalf("a put after the context's end, never sent: %v", err)
	}
	if err := c.Put(until(t, sent), "a", []byte("1")); !errors.Is(err, context.Canceled) || !client.OutcomeUnknown(err) {
		t.Fatalf("a put that was sent: %v", err)
	}
	done := make(chan error)
	go func() { done <- c.Put(within(t), "a", []byte("2")) }()
	for {
		if requests, _, _ := cluster.Counts(); requests > 4 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cluster.SetOwners("a", 1) // somebody else took over
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if m := c.Metrics(); m.Outstanding != 0 || m.AttemptTimeouts == 0 {
		t.Errorf("%+v", m)
	}
}

func TestNoRetryGivesUnknownOutcome(t *testing.T) {
	cluster, c := start(t, 1, client.Options{NoRetry: true, AttemptTimeout: soon})
	cluster.Deafen(0, true)
	if err := c.Put(within(t), "a", []byte("1")); !client.OutcomeUnknown(err) {
		t.Fatalf("put: %v", err)
	}
	cluster.Deafen(0, false)
	if got, err := c.Get(within(t), "a"); err != nil || string(got) != "1" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, tuples, _ := cluster.Counts(); tuples != 2 {
		t.Errorf("%d tuples: the put was repeated", tuples)
	}
}

func TestRefusalsAndRouting(t *testing.T) {
	cluster, c := start(t, 1, client.Options{AttemptTimeout: soon})
	for _, code := range []messages.AnnaError{messages.AnnaError_OVERLOADED, messages.AnnaError_WRONG_THREAD, messages.AnnaError_NO_SERVERS} {
		cluster.Refuse(0, code)
		done := make(chan error)
		before := c.Metrics().Retries
		go func() { done <- c.Put(within(t), "a", []byte("1")) }()
		for c.Metrics().Retries < before+3 {
			time.Sleep(time.Millisecond)
		}
		cluster.Refuse(0, messages.AnnaError_NO_ERROR)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, code := range []messages.AnnaError{messages.AnnaError_NO_SPACE, messages.AnnaError_TOO_LARGE, messages.AnnaError_LATTICE} {
		cluster.Refuse(0, code)
		if err := c.Put(within(t), "a", []byte("1")); !errors.Is(err, messages.ErrorOf(code)) {
			t.Errorf("%s: %v", code, err)
		}
	}
	cluster.Refuse(0, messages.AnnaError_NO_ERROR)
	c.ForgetAddresses()
	for name, fault := range map[string]func(bool){"silent": cluster.SilenceRouting, "empty": cluster.EmptyRouting} {
		fault(true)
		_, err := c.Get(until(t, func() int { return c.Metrics().Outstanding }), name)
		if !errors.Is(err, messages.ErrNoServers) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s routing: %v", name, err)
		}
		fault(false)
	}
	cluster.AnswerTwice(true)
	for range 10 {
		if _, err := c.Get(within(t), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if m := c.Metrics(); m.LateAnswers == 0 {
		t.Errorf("%+v", m)
	}
}

func TestSubmit(t *testing.T) {
	cluster, c := start(t, 2, client.Options{MaxOutstanding: 8, MaxPayloadBytes: 1 << 20})
	cluster.Mute(0, true)
	cluster.Mute(1, true)
	var ended atomic.Int64
	op := client.Operation{Type: messages.RequestType_GET, Key: "a", Done: func(r *client.Result) { ended.Add(1) }}
	for range 8 {
		if err := c.Submit(op); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Submit(op); !errors.Is(err, client.ErrTooManyOutstanding) {
		t.Fatalf("the 9th: %v", err)
	}
	op.Type, op.Value = messages.RequestType_PUT, make([]byte, 2<<20)
	if err := c.Submit(op); !errors.Is(err, messages.ErrTooLarge) {
		t.Fatalf("larger than everything: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if ended.Load() != 8 {
		t.Errorf("CLI-1: %d of 8 called back by Close", ended.Load())
	}
	if err := c.Submit(op); !errors.Is(err, client.ErrClosed) && !errors.Is(err, messages.ErrTooLarge) {
		t.Errorf("submit after close: %v", err)
	}
	if _, err := c.Get(within(t), "a"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("get after close: %v", err)
	}
}

func TestManyGoroutines(t *testing.T) {
	cluster, c := start(t, 4, client.Options{MaxOutstanding: 16})
	ctx := within(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprint(g, "-", i%9)
				value := []byte(fmt.Sprint(i))
				if err := c.Put(ctx, key, value); err != nil {
					t.Error(err)
				}
				if got, err := c.Get(ctx, key); err != nil || !bytes.Equal(got, value) {
					t.Errorf("%s = %q, %v; want %q", key, got, err, value)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 50 {
			cluster.Move(i % 2)
			for _, out := range c.MultiGet(ctx, "0-1", "1-1", "2-1", "3-1", "4-1", "5-1", "6-1") {
				if out.Err != nil && !errors.Is(out.Err, messages.ErrKeyDoesNotExist) {
					t.Error(out.Err)
				}
			}
		}
	})
	wg.Wait()
}

func TestPortsAndBadOptions(t *testing.T) {
	routing := []string{"tcp://127.0.0.1:8200"}
	a, err := client.New(client.Options{Routing: routing, IP: "127.0.97.1", PortOffset: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.Address() != "tcp://127.0.97.1:8303" {
		t.Errorf("listens at %s", a.Address())
	}
	_, err = client.New(client.Options{Routing: routing, IP: "127.0.97.1", PortOffset: 3})
	if err == nil || !strings.Contains(err.Error(), "tcp://127.0.97.1:8303") {
		t.Errorf("occupied port: %v", err)
	}
	anna, err := client.New(client.Options{Routing: routing, IP: "127.0.97.1", Plan: messages.PlanAnna})
	if err != nil {
		t.Fatal(err)
	}
	defer anna.Close()
	if anna.Address() != "tcp://127.0.97.1:6800" {
		t.Errorf("listens at %s", anna.Address())
	}
	for _, o := range []client.Options{{}, {Routing: []string{"localhost:1"}}, {Routing: routing, IP: "*"},
		{Routing: routing, PortOffset: 100}, {Routing: routing, MaxOutstanding: 1 << 20}, {Routing: routing, RetryPauseMin: time.Second}} {
		if c, err := client.New(o); err == nil {
			c.Close()
			t.Errorf("accepted %+v", o)
		}
	}
}

func TestSubmitAllocatesLittle(t *testing.T) {
	if invariant.Enabled {
		t.Skip("the checks and the race detector allocate")
	}
	cluster, c := start(t, 1, client.Options{})
	for _, key := range []string{"a", "b", "c", "d"} {
		cluster.Load(key, make([]byte, 256))
	}
	keys := []string{"a", "b", "c", "d"}
	var left atomic.Int64
	done := make(chan struct{}, 1)
	op := client.Operation{Type: messages.RequestType_GET}
	op.Done = func(r *client.Result) {
		n := left.Add(-1)
		switch {
		case r.Err != nil:
			t.Error(r.Err)
		case n == 0:
			done <- struct{}{}
		case n >= 16:
			op := op
			op.Key = keys[n%4]
			if err := c.Submit(op); err != nil {
				t.Error(err)
			}
		}
	}
	round := func(n int) {
		left.Store(int64(n))
		for i := range 16 {
			op := op
			op.Key = keys[i%4]
			if err := c.Submit(op); err != nil {
				t.Fatal(err)
			}
		}
		<-done
	}
	round(5000)
	const n = 20000
	// The fake cluster in the same process is part of the count. A request's id is a string: 1 for each request.
	if allocs := testing.AllocsPerRun(1, func() { round(n) }); allocs > 1.02*n {
		t.Errorf("%.2f allocations an operation", allocs/n)
	}
}
