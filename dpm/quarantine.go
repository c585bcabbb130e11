package dpm

import (
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// A fenced process that maps the pool's memory may have been stopped right before a CAS, and do it when it wakes up, however late
// that is: nothing can take the mapping away. Its log segments are quarantined (sealDead); for indirect-pointer words
// this file sees to it that such a CAS moves a word that nobody reads (DPM-6):
//
//   - After a rank was fenced, and before its replicated keys get their next owners, the coordinator has their pointers installed
//     again. Where the fenced process may live, Install gives the key another word: renew.
//   - The old word keeps what it held and is not handed out while such a process may live. So a late CAS succeeds there,
//     as it expected, or fails, and nothing leads to what it published.
//
// Fences are counted to tell who may know a word: a process that was fenced before the word was handed out cannot.

// fenceSpan is a span of the fence count: fences after first, up to last.
type fenceSpan struct{ first, last uint64 }

// fenceCount is how many fences there have been since the pool was opened, with one for all before.
func (t *rankTable) fenceCount() uint64 {
	t.Lock()
	defer t.Unlock()
	return t.fences
}

// lingering says whether a process that was fenced within the span may still write to the pool's memory.
func (p *Pool) lingering(within fenceSpan) bool {
	t := &p.ranks
	t.Lock()
	defer t.Unlock()
	for i := range t.ranks {
		r := &t.ranks[i]
		fenced := r.entry.State == format.RankFenced && r.fencedAt > within.first && r.fencedAt <= within.last
		if fenced && p.lingers(r) {
			return true
		}
	}
	return false
}

// movers is the span of fences whose processes may know word i.
func (p *Pool) movers(i uint32) fenceSpan {
	last := p.ranks.fenceCount()
	p.words.Lock()
	defer p.words.Unlock()
	return fenceSpan{p.words.installed[i], last}
}

// renew gives a key another word that leads where its present one does, if somebody fenced may still move that. When no word is
// free it keeps the one it has: a late CAS there publishes a write whose outcome its client never learned, which
// costs no acknowledged one, and a failover must not wait for a process that may sleep for ever.
//
// A crash in between leaves one of the two words behind the slot, and both lead to the same entry.
func (p *Pool) renew(hash uint64, key []byte, current format.Pointer) (format.Pointer, error) {
	old, ok := p.layout.IndirectOf(current)
	if !ok || !p.lingering(p.movers(old)) {
		return current, nil
	}
	target, err := p.loadWord(current)
	if err != nil {
		return 0, err
	}
	i, ok := p.words.take(p.ranks.fenceCount())
	if !ok {
		return current, nil
	}
	return p.leadThrough(i, target, index.Mutation{Hash: hash, Key: key, Conditional: true, If: current})
}

// quarantineWord keeps a word that nothing leads to any more from being handed out, if somebody fenced may still move it. What
// it holds stays: by that quarantineAtOpen knows it after a restart.
func (p *Pool) quarantineWord(i uint32) bool {
	span := p.movers(i)
	if !p.lingering(span) {
		return false
	}
	p.words.Lock()
	defer p.words.Unlock()
	delete(p.words.installed, i)
	p.words.quarantined[i] = span
	return true
}

// quarantineAtOpen takes back into quarantine what a DPM before this one may have had there: words that nothing leads to
// and that hold something.
func (p *Pool) quarantineAtOpen() {
	all := fenceSpan{0, p.ranks.fenceCount()}
	if !p.lingering(all) {
		return
	}
	t := &p.words
	t.Lock()
	defer t.Unlock()
	for i := range t.used {
		if !t.used[i] && p.region.Load64(p.layout.IndirectOffsetOf(uint32(i))) != 0 {
			t.used[i], t.quarantined[uint32(i)] = true, all
			t.free--
		}
	}
}

// liftQuarantines frees the words that nobody can move any more.
func (p *Pool) liftQuarantines() {
	p.words.Lock()
	spans := make(map[fenceSpan][]uint32, 1)
	for i, span := range p.words.quarantined {
		spans[span] = append(spans[span], i)
	}
	p.words.Unlock()
	for span, words := range spans {
		if p.lingering(span) {
			continue
		}
		p.words.Lock()
		for _, i := range words {
			delete(p.words.quarantined, i)
		}
		p.words.Unlock()
		for _, i := range words {
			p.region.Store64(p.layout.IndirectOffsetOf(i), 0)
			p.words.give(i)
		}
	}
}
