package client

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/messages"
)

// maxKeysPerQuestion bounds a KeyAddressRequest.
const maxKeysPerQuestion = 512

// ask is a key whose owners nobody here knows, and the operations that wait for them.
type ask struct {
	key      string
	ops      []*op
	question *question // nil: it goes out with the next flush
	alone    bool      // it was asked together with others and not answered; it shares no question any more
}

// question is a KeyAddressRequest that is not answered completely.
type question struct {
	number uint64
	asks   []*ask
	to     string
	sentAt time.Duration
	losses int64 // of connections to the routing thread, before it was sent
}

// inquire makes o wait for its key's owners.
func (c *core) inquire(o *op) {
	a, ok := c.asks[o.Key]
	if !ok {
		a = &ask{key: o.Key}
		c.asks[a.key] = a
		c.unasked = append(c.unasked, a)
	}
	o.place, o.ask = waiting, a
	a.ops = push(a.ops, o)
}

// askAll sends the questions that are due.
func (c *core) askAll(now time.Duration) {
	var batch []*ask
	for i, a := range c.unasked {
		c.unasked[i] = nil
		switch {
		case len(a.ops) == 0:
			delete(c.asks, a.key) // all gave up
		case a.alone:
			c.askSome(now, []*ask{a})
		default:
			batch = append(batch, a)
			if len(batch) == maxKeysPerQuestion {
				c.askSome(now, batch)
				batch = nil
			}
		}
	}
	c.unasked = c.unasked[:0]
	if len(batch) > 0 {
		c.askSome(now, batch)
	}
}

// askSome asks one routing thread about some keys. A question that no queue takes counts as sent: it runs into its
// timeout, and goes elsewhere then.
func (c *core) askSome(now time.Duration, asks []*ask) {
	c.numbered++
	q := &question{number: c.numbered, asks: asks, sentAt: now}
	q.to, q.losses = c.routingThread()
	keys := make([]string, len(asks))
	for i, a := range asks {
		a.question = q
		keys[i] = a.key
	}
	c.questions = append(c.questions, q)
	err := c.net.send(q.to, &messages.KeyAddressRequest{
		ResponseAddress: c.nameTo, Keys: keys, RequestId: c.idPrefix + strconv.FormatUint(q.number, 10)})
	if err == nil {
		c.metrics.Questions++
	}
}

// routingThread picks a routing thread at random among those that are connected, or among all when none is.
func (c *core) routingThread() (address string, losses int64) {
	all := c.options.Routing
	first := c.rng.IntN(len(all))
	for i := range all {
		address := all[(first+i)%len(all)]
		if up, losses := c.net.link(address); up {
			return address, losses
		}
	}
	_, losses = c.net.link(all[first])
	return all[first], losses
}

// questionOf finds the question that an answer is for, or nil.
func (c *core) questionOf(responseID string) *question {
	digits, ok := strings.CutPrefix(responseID, c.idPrefix)
	if !ok {
		return nil
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return nil
	}
	for _, q := range c.questions {
		if q.number == number {
			return q
		}
	}
	return nil
}

// located takes a routing thread's answer. It keeps nothing of m.
func (c *core) located(now time.Duration, m *messages.KeyAddressResponse) {
	q := c.questionOf(m.ResponseId)
	if q == nil {
		c.metrics.LateAnswers++
		return
	}
	for _, ka := range m.Addresses {
		a := c.asks[ka.Key]
		if a == nil || a.question != q {
			c.metrics.StrayTuples++
			continue
		}
		c.settle(now, a, ka.Ips)
	}
	if m.Error != messages.AnnaError_NO_ERROR {
		for _, a := range q.asks {
			if a.question == q {
				c.settle(now, a, nil)
			}
		}
	}
	for _, a := range q.asks {
		if a.question == q {
			return // Anna's routing node stops at the first key it does not know yet, and answers for it later
		}
	}
	c.questions = slices.DeleteFunc(c.questions, func(other *question) bool { return other == q })
}

// settle ends an ask: its operations go on with the owners, or wait when there are none.
func (c *core) settle(now time.Duration, a *ask, owners []string) {
	delete(c.asks, a.key)
	a.question = nil
	for _, o := range a.ops {
		o.ask = nil
		if c.cache.learn(o.hash, owners) {
			c.route(o)
		} else {
			c.metrics.Refusals++
			c.pause(now, o, messages.ErrNoServers)
		}
	}
	a.ops = nil
}

// reconsider asks again what was not answered in time, or whose connection was lost. One that waits for a connection gets
// less time when there are others to ask.
func (c *core) reconsider(now time.Duration) {
	var open []*question
	for _, q := range c.questions {
		up, losses := c.net.link(q.to)
		limit := c.options.AttemptTimeout
		if !up && len(c.options.Routing) > 1 {
			limit /= 8
		}
		if now-q.sentAt < limit && losses == q.losses {
			open = append(open, q)
			continue
		}
		for _, a := range q.asks {
			if a.question == q {
				a.question, a.alone = nil, a.alone || up && len(q.asks) > 1
				c.unasked = append(c.unasked, a)
			}
		}
	}
	c.questions = open
}
