package client

import (
	"context"
	"fmt"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// The methods of this file read and write keys of the lattice types other than LWW. A put merges at the key's owner:
// it adds to what is there, by the type's rule. A key keeps the type of its first put until it is deleted; a put of
// another type fails with messages.ErrLattice and changes nothing, and so does a get with the wrong method.

// PutSet adds members to the key's SET.
func (c *Client) PutSet(ctx context.Context, key string, members ...[]byte) error {
	return c.PutPayload(ctx, key, lattice.Set, lattice.SetValue(members).Append([]byte{}))
}

// GetSet returns the members of a SET, sorted bytewise.
func (c *Client) GetSet(ctx context.Context, key string) ([][]byte, error) {
	return get(c, ctx, key, lattice.Set, func(b []byte) (lattice.SetValue, error) { return lattice.ParseSet(b, decodeOptions) })
}

// PutOrderedSet adds members to the key's ORDERED_SET.
func (c *Client) PutOrderedSet(ctx context.Context, key string, members ...[]byte) error {
	return c.PutPayload(ctx, key, lattice.OrderedSet, lattice.SetValue(members).Append([]byte{}))
}

// GetOrderedSet returns the members of an ORDERED_SET in order.
func (c *Client) GetOrderedSet(ctx context.Context, key string) ([][]byte, error) {
	return get(c, ctx, key, lattice.OrderedSet, func(b []byte) (lattice.SetValue, error) { return lattice.ParseSet(b, decodeOptions) })
}

// PutCausal writes a SINGLE_CAUSAL or MULTI_CAUSAL value; its Type says which. What it causally follows it replaces, what
// follows it makes it void, and values that are concurrent are kept side by side.
func (c *Client) PutCausal(ctx context.Context, key string, v lattice.CausalValue) error {
	return c.PutPayload(ctx, key, v.Type, v.Append([]byte{}))
}

// GetCausal returns the value of a key of the given causal type.
func (c *Client) GetCausal(ctx context.Context, key string, t lattice.Type) (lattice.CausalValue, error) {
	return get(c, ctx, key, t, func(b []byte) (lattice.CausalValue, error) { return lattice.ParseCausal(t, b, decodeOptions) })
}

// PutPriority writes a PRIORITY value; of all written the one with the smallest priority stays.
func (c *Client) PutPriority(ctx context.Context, key string, priority float64, value []byte) error {
	return c.PutPayload(ctx, key, lattice.Priority, lattice.PriorityValue{Priority: priority, Value: value}.Append([]byte{}))
}

// GetPriority returns the value of a PRIORITY key.
func (c *Client) GetPriority(ctx context.Context, key string) (lattice.PriorityValue, error) {
	return get(c, ctx, key, lattice.Priority, func(b []byte) (lattice.PriorityValue, error) {
		return lattice.ParsePriority(b, decodeOptions)
	})
}

// PutPayload writes a payload that is serialized already, as the lattice type says.
func (c *Client) PutPayload(ctx context.Context, key string, t lattice.Type, payload []byte) error {
	if payload == nil {
		payload = []byte{}
	}
	return named("put "+t.String(), key, c.one(ctx, Operation{Type: messages.RequestType_PUT, Key: key, Lattice: t, Payload: payload}).Err)
}

// GetPayload returns a key's value of whatever type, as it travels.
func (c *Client) GetPayload(ctx context.Context, key string) (lattice.Type, []byte, error) {
	out := c.one(ctx, Operation{Type: messages.RequestType_GET, Key: key})
	return out.Lattice, out.Payload, named("get", key, out.Err)
}

// get reads a key of one type.
func get[V any](c *Client, ctx context.Context, key string, t lattice.Type, parse func([]byte) (V, error)) (V, error) {
	var v V
	got, payload, err := c.GetPayload(ctx, key)
	if err != nil {
		return v, err
	}
	if err := wantType(got, t); err != nil {
		return v, named("get", key, err)
	}
	if v, err = parse(payload); err != nil {
		return v, fmt.Errorf("get %q: %w", key, err)
	}
	return v, nil
}
