package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
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
	open   int  // operations under way
	ending bool // begins no more by itself
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
	value := ""
	if kind == history.Put {
		value = c.nextValue()
	}
	c.do(kind, key, value, func(history.Operation) { c.later() })
}

// nextValue names a value that nobody else writes.
func (c *simClient) nextValue() string {
	c.writes++
	return fmt.Sprintf("%d.%d", c.number, c.writes)
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
		done(record)
	}
	err := c.client.Submit(client.Operation{Type: requestTypes[kind], Key: key, Value: c.padded(value), Done: over})
	if err != nil {
		over(&client.Result{Err: err})
	}
}

// padded makes the stored value: its name, and now and then so many bytes that the cache keeps a shortcut, and segments fill.
func (c *simClient) padded(value string) []byte {
	if value == "" {
		return nil
	}
	length := c.rng.IntN(200)
	if c.rng.IntN(10) == 0 {
		length = c.rng.IntN(6 << 10)
	}
	return append([]byte(value+"|"), make([]byte, length)...)
}

var requestTypes = map[history.Kind]messages.RequestType{
	history.Get: messages.RequestType_GET, history.Put: messages.RequestType_PUT, history.Delete: messages.RequestType_DELETE,
}

// conclude says what an operation's result means for the history.
func conclude(o *history.Operation, r *client.Result) {
	err := r.Err
	if o.Kind == history.Get && err == nil {
		var value []byte
		if value, err = r.Value(); err == nil {
			o.Value = nameOf(value)
		}
	}
	o.Outcome = history.OK
	switch {
	case err == nil:
	case o.Kind != history.Put && errors.Is(err, messages.ErrKeyDoesNotExist):
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
