package route

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// maxBatchesPerFlush is how many received batches are answered before the answers are sent: many, and little goes
// out with each system call; too many, and clients idle meanwhile.
const maxBatchesPerFlush = 8

// sweepEvery is how often idle and unreachable clients are looked for.
const sweepEvery = time.Second

// AddressMetrics counts what an address thread did.
type AddressMetrics struct {
	Requests, Keys int64
	NoServers      int64 // requests answered with NO_SERVERS
	Refused        int64 // requests answered with another error
	Malformed      int64 // frames that could not be answered
	Dropped        int64 // answers that nobody takes, or to no proper address
}

// addressThread answers one key-address socket. run owns everything but the counters.
type addressThread struct {
	pull  *runtime.Pull
	peers *runtime.Peers
	codec *messages.Codec
	table *table
	clock clock.Clock
	done  chan struct{}

	key    []byte
	owners []hashring.Owner

	requests, keys, noServers, refused, malformed, dropped atomic.Int64
}

func newAddressThread(o *Options, thread int, codec *messages.Codec, t *table) (*addressThread, error) {
	pullOptions := o.Pull
	pullOptions.Name, pullOptions.Logf = messages.RouteKeyAddress.String(), o.Logf
	pull, err := o.System.ListenPull(o.address(o.IP, messages.RouteKeyAddress, thread), pullOptions)
	if err != nil {
		return nil, err
	}
	return &addressThread{
		pull: pull, peers: o.System.NewPeers(o.Peers), codec: codec, table: t, clock: o.Clock, done: make(chan struct{}),
		owners: make([]hashring.Owner, 0, 64),
	}, nil
}

// run answers until close.
func (t *addressThread) run() {
	defer close(t.done)
	timer := t.clock.NewTimer(sweepEvery)
	defer func() { timer.Stop() }()
	ready := []func() bool{t.pull.Ready, func() bool { return timer.Fired() }}
	for {
		first := clock.Await(t.clock, ready...)
		select {
		case batch, ok := <-clock.Only(first, 0, t.pull.Batches()):
			if !ok {
				return
			}
			t.handle(batch)
			t.handleWaiting()
			t.peers.FlushDirty()
		case now := <-clock.Only(first, 1, timer.C):
			t.peers.Sweep(now)
			timer = t.clock.NewTimer(sweepEvery)
		}
	}
}

// handleWaiting answers what else has arrived, within bounds, so that one flush serves it all.
func (t *addressThread) handleWaiting() {
	for range maxBatchesPerFlush - 1 {
		select {
		case batch, ok := <-t.pull.Batches():
			if !ok {
				return
			}
			t.handle(batch)
		default:
			return
		}
	}
}

func (t *addressThread) handle(batch *runtime.Batch) {
	for _, frame := range batch.Frames {
		t.answer(frame)
	}
	batch.Release()
}

// answer answers one address request.
func (t *addressThread) answer(frame []byte) {
	request, err := t.codec.DecodeKeyAddressRequest(frame)
	if request == nil {
		t.malformed.Add(1)
		return
	}
	t.requests.Add(1)
	t.keys.Add(int64(len(request.Keys)))
	response := t.respond(request, err)
	push, err := t.peers.Get(request.ResponseAddress)
	if err == nil {
		err = push.Append(response)
	}
	if err != nil {
		t.dropped.Add(1)
	}
	messages.ReleaseKeyAddressResponse(response)
	messages.ReleaseKeyAddressRequest(request)
}

// respond looks the keys' owners up; refusal is the decoder's verdict on the request.
func (t *addressThread) respond(request *messages.KeyAddressRequest, refusal error) *messages.KeyAddressResponse {
	addresses := t.table.load()
	switch {
	case refusal != nil:
		t.refused.Add(1)
		return messages.RefuseKeyAddressRequest(request, refusal)
	case addresses == nil:
		t.noServers.Add(1)
		return messages.RefuseKeyAddressRequest(request, messages.ErrNoServers)
	}
	response := messages.AnswerKeyAddressRequest(request)
	for _, key := range request.Keys {
		a := response.AddAddress()
		a.Key = key
		t.key = append(t.key[:0], key...)
		a.Ips = addresses.Of(t.key, hashring.KeyHash(t.key), t.owners[:0], a.Ips)
	}
	return response
}

// metrics may be called from any goroutine.
func (t *addressThread) metrics() AddressMetrics {
	return AddressMetrics{
		Requests: t.requests.Load(), Keys: t.keys.Load(), NoServers: t.noServers.Load(), Refused: t.refused.Load(),
		Malformed: t.malformed.Load(), Dropped: t.dropped.Load(),
	}
}

// close ends run, which answers what has arrived.
func (t *addressThread) close(linger time.Duration) error {
	err := t.pull.Close()
	<-t.done
	t.peers.FlushDirty()
	t.peers.Close(linger)
	if errors.Is(err, runtime.ErrClosed) {
		return nil
	}
	return err
}
