// Package ibverbs carries verbs by RDMA: InfiniBand, RoCE, or Soft-RoCE, through libibverbs and
// librdmacm. READ, WRITE, CAS and FETCH_ADD are executed by the DPM's network card, without its
// processor. It is compiled with the build tag rdma and needs cgo; without them the package says so
// (ErrNotBuilt) and nothing of the libraries is needed.
package ibverbs
