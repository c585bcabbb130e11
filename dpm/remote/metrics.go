package remote

// AppendCounters count what an Appender did. Round trips of writes are Batches; calls are apart.
type AppendCounters struct {
	Batches  uint64 // committed, one round trip each
	Entries  uint64
	Bytes    uint64
	Switches uint64 // segments begun
	Waits    uint64 // times an append had to ask for a segment first: a round trip more for its batch
	Resolved uint64 // batches of unknown outcome that Reconnect settled
}

// Counters returns a copy of the counts so far.
func (a *Appender) Counters() AppendCounters { return a.counters }

// CompressCounters returns a copy of what compression did so far.
func (a *Appender) CompressCounters() CompressCounters { return a.codec.counters }

// ReadCounters count what a Reader did.
type ReadCounters struct {
	Posts         uint64 // batches of verbs: what its round trips are shared by
	BucketReads   uint64 // main buckets
	OverflowReads uint64
	EntryReads    uint64
	WordReads     uint64 // indirect-pointer words
	StalePointers uint64 // pointers that did not lead to their entry any more
	OtherKeys     uint64 // entries of another key with the same hash
	RootFetches   uint64
}

// Counters returns a copy of the counts so far.
func (r *Reader) Counters() ReadCounters { return r.counters }
