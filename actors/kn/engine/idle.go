package engine

import "time"

// Idle does what would otherwise cost a batch a round trip: it asks for segments ahead, learns how far the log is
// merged, and lets go of an old index table. Call it between batches when nothing waits. now is the time of the owner's clock.
func (e *Engine) Idle(now time.Time) {
	e.now = now
	if e.Poll() != nil || !e.link.up() {
		return
	}
	if err := e.link.thread.Maintain(); err != nil {
		e.failed(err)
		return
	}
	if e.table.Len() > 0 && now.Sub(e.link.asked) >= e.o.ProgressEvery {
		e.progress()
	}
	if e.link.up() {
		if err := e.link.thread.Reader.Refresh(); err != nil {
			e.failed(err)
		}
	}
}

// Drain asks the pool to merge what this thread has written, and says whether that is done (OWN-2). through is 0 the
// first time, which means everything written until now, and what Drain returned after that. The pool works on it: ask again
// until it is done. It is not while the pool is away.
func (e *Engine) Drain(through uint64) (next uint64, done bool) {
	if e.Poll() != nil || !e.link.up() {
		return through, false
	}
	if through == 0 {
		through = e.link.thread.Next()
	}
	done, err := e.link.thread.Drain(through)
	if err != nil {
		e.failed(err)
		return through, false
	}
	e.table.prune(e.link.thread.Merged())
	return through, done
}

// Drop forgets everything that is cached of the hashes that lost accepts, and of the keys (DAC-2). It returns how
// many cache entries there were.
func (e *Engine) Drop(lost func(hash uint64) bool, keys []HashedKey) int {
	n := e.cache.DropIf(lost)
	for _, k := range keys {
		e.cache.Invalidate(k.Key, k.Hash)
		if s := e.shared[string(k.Key)]; s != nil {
			// Its pointer may be another one by the time it is served again, in which case the old word leads to the past.
			s.indirect, s.seen = 0, 0
		}
	}
	return n
}

// HashedKey is a key with its hashring.KeyHash.
type HashedKey struct {
	Key  []byte
	Hash uint64
}
