package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// simClient is a client program: the client library on a node of its own, and what it wrote.
type simClient struct {
	w      *World
	number int
	ip     string
	rng    *rand.Rand
	client *client.Client
	writes int
	ticks  map[string]int    // causal writes to a key
	read   map[string]string // the clock of a causal value that was read last
	open   int               // operations under way
	ending bool              // begins no more by itself
}

// Times of clients.
const (
	clientPause      = 12 * time.Millisecond // mean, between two operations of one of a client's loops
	clientLoops      = 2                     // operations that a client has under way at most
	operationTimeout = 2 * time.Second
	attemptTimeout   = 250 * time.Millisecond
)

func keyName(i int) string { return "k" + strconv.Itoa(i+1) }

// newClient starts a client that does nothing yet.
func (w *World) newClient() *simClient {
	number := len(w.clients) + 1
	c := &simClient{w: w, number: number, ip: clientIP(number - 1), rng: random.New(w.o.Seed + uint64(number)*7919)}
	c.ticks, c.read = map[string]int{}, map[string]string{}
	routing, err := client.RoutingEndpoints(w.plan, ips(w.routes), 1)
	if err == nil {
		node := w.net.Node(c.ip)
		c.client, err = client.New(client.Options{
			Routing: routing, IP: c.ip, Plan: w.plan, AttemptTimeout: attemptTimeout, OperationTimeout: operationTimeout, NoRetry: true,
			CachedAddresses: 1024, Seed: c.rng.Uint64() | 1, Clock: node.Clock(), System: node,
		})
	}
	if err != nil {
		w.watch.violation("client %d does not start: %v", number, err)
	}
	w.clients = append(w.clients, c)
	return c
}

// work begins the client's loops.
func (c *simClient) work() {
	for range clientLoops {
		c.later()
	}
}

// later does the next operation of a loop after a pause.
func (c *simClient) later() {
	c.w.net.After(time.Duration(c.rng.ExpFloat64()*float64(clientPause)), func() {
		if !c.ending {
			c.random()
		}
	})
}

// mostUnsure is how many deletes of a key may have an unknown outcome before clients delete it no more: each may have happened at any
// time since, and the checker tries all ways in which they may have.
const mostUnsure = 6

// random does one operation, and then another.
func (c *simClient) random() {
	key, kind := keyName(c.rng.IntN(c.w.o.Keys)), history.Get
	if c.rng.IntN(3) == 0 { // every third on one of two hot keys
		key = keyName(c.rng.IntN(min(2, c.w.o.Keys)))
	}
	switch p := c.rng.IntN(100); {
	case p < 42:
		kind = history.Put
	case p < 50:
		kind = history.Delete
	}
	if kind == history.Delete && c.w.unsure[key] >= mostUnsure {
		kind = history.Put
	}
	if c.rng.IntN(5) == 0 {
		kind, key = c.chooseMerged()
	}
	c.do(kind, key, c.nextValue(kind, key), func(history.Operation) { c.later() })
}

// nextValue is what an operation of some kind writes: for a put, a value that nobody else writes.
func (c *simClient) nextValue(kind history.Kind, key string) string {
	switch kind {
	case history.Put:
		c.writes++
		return fmt.Sprintf("%d.%d", c.number, c.writes)
	case history.Add:
		return c.nextLetter()
	case history.Merge:
		return c.nextCausal(key)
	}
	return ""
}

// do does one operation, records it, and calls back.
func (c *simClient) do(kind history.Kind, key, value string, done func(history.Operation)) {
	record := history.Operation{Client: c.number, Kind: kind, Key: key, Value: value, Call: int64(c.w.now())}
	c.open++
	over := func(r *client.Result) {
		c.open--
		record.Return = int64(c.w.now())
		conclude(&record, r)
		c.w.ops = append(c.w.ops, record)
		c.learn(&record)
		done(record)
	}
	o := c.operation(kind, key, value)
	o.Done = over
	if err := c.client.Submit(o); err != nil {
		over(&client.Result{Err: err})
	}
}

// learn keeps what later operations depend on.
func (c *simClient) learn(o *history.Operation) {
	switch clock, _, causal := strings.Cut(o.Value, "|"); {
	case o.Kind != history.Get && o.Outcome == history.Unknown:
		if o.Kind == history.Delete {
			c.w.unsure[o.Key]++
		}
		c.w.retire(o.Key)
	case o.Kind == history.Get && o.Missing:
		delete(c.read, o.Key)
	case o.Kind == history.Get && causal:
		c.read[o.Key] = clock
	}
}

// padded makes the stored value: its name, and now and then so many bytes that the cache keeps a shortcut, and segments fill.
func (c *simClient) padded(value string) []byte {
	length := c.rng.IntN(200)
	if c.rng.IntN(10) == 0 {
		length = c.rng.IntN(6 << 10)
	}
	return append([]byte(value+"|"), make([]byte, length)...)
}

// conclude says what an operation's result means for the history.
func conclude(o *history.Operation, r *client.Result) {
	err := r.Err
	if o.Kind == history.Get {
		o.Value, err = valueOf(r)
	}
	o.Outcome = history.OK
	switch {
	case err == nil:
	case (o.Kind == history.Get || o.Kind == history.Delete) && errors.Is(err, messages.ErrKeyDoesNotExist):
		o.Missing = o.Kind == history.Get
	case o.Kind == history.Get || !client.NothingHappened(err):
		o.Outcome, o.Note = history.Unknown, err.Error()
	default:
		o.Outcome, o.Note = history.Failed, err.Error()
	}
}

// nameOf returns what the history calls a stored value; one that is torn gets a name that nobody wrote.
func nameOf(value []byte) string {
	for i, b := range value {
		if b != '|' {
			continue
		}
		for _, rest := range value[i+1:] {
			if rest != 0 {
				return fmt.Sprintf("damaged value of %d bytes", len(value))
			}
		}
		return string(value[:i])
	}
	return fmt.Sprintf("damaged value of %d bytes", len(value))
}
