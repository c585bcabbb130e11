// Package ibverbs carries verbs by RDMA: InfiniBand, RoCE, or Soft-RoCE, through libibverbs and
// librdmacm. READ, WRITE, CAS and FETCH_ADD are executed by the DPM's network card, without its
// processor. It is compiled with the build tag rdma and needs cgo; without them the package says so
// (ErrNotBuilt) and nothing of the libraries is needed. docs/rdma.md is about hardware and settings.
//
// What holds:
//
//   - IB-1: the pool's memory is registered once, and a peer reaches it through an admitted queue pair only, with the permission of that
//     queue pair. Fence and replacement return when the card serves the queue pair no more (DPM-6).
//   - IB-2: a peer of another pool or version, or of a fenced rank, is turned away before there is a queue pair, by either set-up.
//   - IB-3: what fits one chain of work requests goes out with one doorbell, and its last completion covers it all. A word is never fetched or
//     stored in two halves.
//   - IB-4: a FLUSH that has succeeded follows its WRITEs in the same queue pair: a READ behind them, or the DPM's processor.
//   - IB-5: nothing of an endpoint is freed while a call into C uses it, and nothing of it is left after Close: no peer, however it ends, leaves
//     a queue pair behind.
//
// What does not: the card's atomics are atomic among themselves only, so a Listener is a fabric.WordSwapper.
package ibverbs
