// Package stream serves fabric connections over TCP sockets: the listener that admits, executes,
// fences, and the client end of one connection. The tcp backend is this package; shm and ibverbs
// use it for what cannot be one-sided (greeting, calls, flushes, noticing that the peer died).
//
//   - The listener runs one goroutine a connection. It takes no lock while it executes verbs, so no
//     connection can hold up another one, and the store's locks cannot hold up a READ.
//   - Nothing of a batch is executed before its header and all descriptors have been checked. WRITE payload then goes from
//     the socket into the region piece by piece: a connection needs two small buffers, whatever the batch's size, and
//     one that breaks in mid-payload leaves a prefix of the WRITE, whole words, as RDMA may.
//   - DPM-6: Fence returns when the goroutines of the fenced connections have executed their last verb.
//
// It knows nothing of what calls mean; the Service does.
package stream
