// Package messages is what this system says on the wire: protobuf messages, plain strings, addresses, ports and
// error codes, faithful to Anna's protocol, with the control messages that are our own.
//
// Invariants:
//   - MSG-1 (its part): an answer carries the request's id untouched; nothing here rewrites one.
//   - WIRE-1: the field numbers of request.proto, payload.proto and metadata.proto are Anna's and Dinomo's; what is
//     ours has a new message or a number above 100. Error codes from TOO_LARGE on are ours, too.
//   - WIRE-2: every decoder here takes bytes of a hostile peer: it refuses with an error, within its limits, and never panics.
//   - WIRE-3: a message taken from a pool is given back with no reference to a frame left in it.
//
// Two kinds of encoding live here. The request plane (DecodeKeyRequest, AppendKeyResponse and so on) uses generated
// fast code, pooled messages and strings that alias the received frame. Everything else goes through Marshal and
// Unmarshal, so that no other package needs the protobuf library.
//
// What it does not do: open sockets, know who owns a key, or parse benchmark command lines.
package messages

//go:generate ./generate.sh
