// Package replay runs a trace of operations through a cache policy and reports what it did:
// hits, round trips, bytes, speed, and the distance to the best static choice. It is how a
// policy is judged, and how a user finds the right size of a cache.
//
// The pool is imagined: a value hit costs no round trip, a shortcut hit one, a miss the miss
// cost. Everything else is the real cache, with real bytes.
package replay
