package dpm

import "github.com/dinomo-kv/dinomo/dpm/format"

// epochAt is where the pool says who serves it.
const epochAt = format.RootsOffset + format.ServerEpochOffset

// raiseEpoch is the first thing that recovery writes.
func (p *Pool) raiseEpoch() error {
	p.epoch++
	return p.writeEpoch()
}

func (p *Pool) writeEpoch() error {
	p.region.Store64(epochAt, format.ServerEpochWord(p.epoch))
	p.region.Flush(epochAt, format.WordBytes)
	return p.fence()
}

// mendEpoch writes the epoch again when it is damaged: peers that map the memory take what is there for another DPM's, and their
// queue pairs would be of no use until the next start, which refuses a damaged epoch. A sound word is left alone: if it
// is not ours it is a successor's.
func (p *Pool) mendEpoch() error {
	word := p.region.Load64(epochAt)
	if _, ok := format.OpenServerEpoch(word); ok {
		return nil
	}
	p.damage(epochAt, "server epoch, written again", &format.WordError{What: "server epoch", Offset: epochAt, Word: word})
	return p.writeEpoch()
}
