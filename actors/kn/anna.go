package kn

import (
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// frame takes what came in on one of the node's sockets.
func (c *control) frame(now time.Time, socket string, frame []byte, out *runtime.Outbox) {
	switch socket, _, _ := strings.Cut(socket, "/"); socket {
	case messages.KNControl.String():
		c.envelope(now, frame, out)
	case messages.KNJoin.String():
		c.join(frame, out)
	case messages.KNDepart.String():
		c.depart(now, frame, out)
	case messages.KNSelfDepart.String():
		c.selfDepart(now, frame, out)
	case messages.KNReplicationChange.String():
		c.replicationChange(now, frame, out)
	case messages.KNGossip.String():
		c.gossip(frame, out)
	case messages.KNCacheIPResponse.String():
		c.caches.response(c, frame, out)
	case messages.KNManagementResponse.String():
		c.caches.present(c, frame)
	default: // answers to questions that this node does not ask: replication, server
		c.unknown++
	}
}

// join takes word of a joining node, as Dinomo's NodeJoinRequest or as Anna's string. Who owns what changes by the map
// alone, so that all there is to do is to look for a newer one, and to answer who waits for an answer.
func (c *control) join(frame []byte, out *runtime.Outbox) {
	text := string(frame)
	var request messages.NodeJoinRequest
	if _, err := messages.ParseNodeJoin(text); err != nil {
		if messages.Unmarshal(frame, &request) != nil {
			c.unknown++
			return
		}
		text = request.GetRequestMsg()
	}
	if _, err := messages.ParseNodeJoin(text); err != nil {
		c.unknown++
		return
	}
	c.askPool(true, nil)
	if request.GetResponseAddress() == "" {
		return
	}
	reply, err := messages.Marshal(&messages.NodeJoinRequestResponse{
		ResponseAddress: c.o.address(c.o.PrivateIP, messages.KNServerResponse), ResponseId: request.GetRequestId(),
		RequestId: c.o.PrivateIP + "/" + request.GetRequestId(),
	})
	if err != nil {
		c.unknown++
		return
	}
	out.Send(request.GetResponseAddress(), reply)
}

// depart takes word of a departing node; its own departure is an order.
func (c *control) depart(now time.Time, frame []byte, out *runtime.Outbox) {
	node, err := messages.ParseNode(string(frame))
	switch {
	case err != nil:
		c.unknown++
	case node.PrivateIP == c.o.PrivateIP:
		c.leave.begin(c, "", now, out)
	default:
		c.askPool(true, nil)
	}
}

// selfDepart is the order to leave, with the address to report to.
func (c *control) selfDepart(now time.Time, frame []byte, out *runtime.Outbox) {
	address, err := messages.ParseAddress(string(frame))
	if err != nil {
		c.unknown++
		return
	}
	c.leave.begin(c, address.String(), now, out)
}

// replicationChange passes a wish for other replication on to the M-nodes.
func (c *control) replicationChange(now time.Time, frame []byte, out *runtime.Outbox) {
	var update messages.ReplicationFactorUpdate
	if messages.Unmarshal(frame, &update) != nil {
		c.unknown++
		return
	}
	c.wishes.add(c, now, &update, out)
}

// wishes are changes of replication that have been passed on and whose sender wants to know when they are in force.
type wishes struct{ open []wish }

type wish struct {
	address, id string
	keys        map[string]hashring.Replication
	until       time.Time
}

// Bounds of wishes. Whoever waits longer asks again.
const (
	maxWishes    = 256
	maxWishKeys  = 1024
	wishPatience = 30 * time.Second
)

func (w *wishes) add(c *control, now time.Time, update *messages.ReplicationFactorUpdate, out *runtime.Outbox) {
	if len(update.GetUpdates()) == 0 || len(update.GetUpdates()) > maxWishKeys || len(w.open) >= maxWishes {
		c.unknown++
		return
	}
	change := &messages.ReplicationChange{ResponseAddress: c.address, RequestId: update.GetRequestId()}
	keys := make(map[string]hashring.Replication, len(update.GetUpdates()))
	for _, f := range update.GetUpdates() {
		r := hashring.Replication{Global: int(memoryValue(f.GetGlobal())), Local: int(memoryValue(f.GetLocal()))}
		keys[f.GetKey()] = r
		change.Keys = append(change.Keys, &messages.ReplicatedKey{Key: []byte(f.GetKey()), GlobalFactor: uint32(r.Global), LocalFactor: uint32(r.Local)})
	}
	c.sendMonitors(change, out)
	if update.GetResponseAddress() != "" {
		w.open = append(w.open, wish{address: update.GetResponseAddress(), id: update.GetRequestId(), keys: keys, until: now.Add(wishPatience)})
	}
}

// memoryValue is a replication factor's value for the only tier there is; one owner by default.
func memoryValue(values []*messages.ReplicationValue) uint32 {
	for _, v := range values {
		if v.GetTier() == messages.Tier_MEMORY && v.GetValue() > 0 {
			return v.GetValue()
		}
	}
	return 1
}

// tick answers the wishes that the installed map fulfils and gives up those that took too long.
func (w *wishes) tick(c *control, now time.Time, out *runtime.Outbox) {
	kept := w.open[:0]
	for _, wish := range w.open {
		switch m := c.guard.Map(); {
		case m != nil && wish.fulfilled(m):
			if reply, err := messages.Marshal(&messages.ReplicationFactorUpdateResponse{ResponseId: wish.id}); err == nil {
				out.Send(wish.address, reply)
			}
		case now.Before(wish.until):
			kept = append(kept, wish)
		}
	}
	clear(w.open[len(kept):])
	w.open = kept
}

func (w *wish) fulfilled(m *hashring.Map) bool {
	for key, r := range w.keys {
		if m.Replication([]byte(key)) != r {
			return false
		}
	}
	return true
}

// maxGossipWaiting bounds the gossip that waits for one thread; more is dropped, and its sender gossips again.
const maxGossipWaiting = 1024

// forwarded is the request id of gossip that has been passed on once. Two nodes whose maps differ for a moment must not
// play it back and forth.
const forwarded = "forwarded"

// gossip takes puts that another node, or a client, sends without wanting an answer: each goes to the thread that owns the
// key, here or elsewhere; other nodes' statistics stay here.
func (c *control) gossip(frame []byte, out *runtime.Outbox) {
	request, err := c.codec.DecodeGossip(frame)
	defer messages.ReleaseKeyRequest(request)
	m := c.guard.Map()
	if err != nil || !request.Type.IsPut() || m == nil {
		c.unknown++
		return
	}
	parts := map[hashring.Owner]*messages.KeyRequest{}
	var order []hashring.Owner
	for _, tuple := range request.Tuples {
		if messages.IsMetadataKey(tuple.Key) {
			if !c.shared(m, tuple) {
				c.unknown++
			}
			continue
		}
		owner, ok := m.PrimaryOwner(hashring.KeyHash([]byte(tuple.Key)))
		if !ok || tuple.Error != messages.AnnaError_NO_ERROR {
			c.unknown++
			continue
		}
		part := parts[owner]
		if part == nil {
			part = &messages.KeyRequest{Type: request.Type, RequestId: forwarded}
			parts[owner] = part
			order = append(order, owner)
		}
		part.Tuples = append(part.Tuples, tuple)
	}
	for _, owner := range order {
		c.passOn(m, owner, parts[owner], request.RequestId == forwarded, out)
	}
}

func (c *control) passOn(m *hashring.Map, owner hashring.Owner, part *messages.KeyRequest, again bool, out *runtime.Outbox) {
	frame := messages.AppendKeyRequest(nil, part)
	if owner.Rank == c.self.rank {
		if owner.Thread >= len(c.threads) || c.threads[owner.Thread].len() >= maxGossipWaiting {
			c.unknown++
			return
		}
		c.threads[owner.Thread].put(gossip{frame})
		return
	}
	member, ok := m.Member(owner.Rank)
	address, err := c.o.Plan.Address(member.PrivateIP, messages.KNGossip, owner.Thread)
	if !ok || err != nil || again {
		c.unknown++
		return
	}
	out.Send(address.String(), frame)
}
