package remote

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// FetchRoot asks the pool for the index table. The pool notes which table this thread uses from then on,
// and keeps an older one for as long as some thread may use it.
func (r *Reader) FetchRoot() error {
	reply, err := r.caller.do(&call.Request{Op: call.Root, Table: r.number})
	if err != nil {
		return err
	}
	table, err := index.DecodeTable(r.layout, reply.Bytes)
	if err != nil {
		return fmt.Errorf("ROOT: %w", err)
	}
	if table.Root.BucketsLog2 > r.layout.BucketsPerSegmentLog2() && len(table.Extents)<<r.layout.BucketsPerSegmentLog2() < 1<<table.Root.BucketsLog2 {
		return fmt.Errorf("ROOT: %w: 2^%d buckets in %d extents", call.ErrMalformed, table.Root.BucketsLog2, len(table.Extents))
	}
	r.table, r.number = table, reply.Table
	r.counters.RootFetches++
	return nil
}

// Table is the index table this reader uses, 0 before the first fetch.
func (r *Reader) Table() uint64 { return r.number }

// Refresh fetches the root if a reply has named a newer table than the one in use, so that an idle thread
// does not hold an old table's memory for ever.
func (r *Reader) Refresh() error {
	if r.caller.newTable == 0 || r.caller.newTable == r.number {
		return nil
	}
	return r.FetchRoot()
}

// forgetRoot has the next read fetch the root first.
func (r *Reader) forgetRoot() { r.table, r.number = nil, 0 }
