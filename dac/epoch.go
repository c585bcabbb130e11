package dac

import "math"

// epoch is the part of the past that adaptive's hit counts stand for, and how it is forgotten.
//
// While popularity stays the same, long counts are good counts: they are only halved, when even
// the least shortcuts have many hits or very many reads have been counted. When popularity
// changes, old counts are worse than none. A change shows in the share of reads that what used
// to be popular answers: under a stationary load that share never falls but by chance. When it
// does fall, all counts are cut down the more the further it fell.
type epoch struct {
	// reads is the number of reads that hit counts stand for, cut down whenever they are.
	reads float64

	window  uint64 // lookups that had been made when the current window began
	values  uint64 // and value hits
	hot     watch  // shortcuts of hotLevel and above
	value   watch  // values
	changes uint64 // how often a change was noticed

	hotLevel uint64
	hotHits  uint64 // in this window
	levels   [lowLevels + 1]levelRate
	windows  uint64

	// An ageing pass goes over the table with hand, multiplying hits with keep.
	passing bool
	hand    uint64
	keep    float64
	passes  uint64
}

const (
	// windowReads is how many lookups are looked at together: few enough to notice a change
	// soon, many enough for a change of a tenth to stand out.
	windowReads = 4096
	// A fall counts if it is larger than chance at this many standard deviations, and than
	// this part of the share: a false alarm costs more than a small change unnoticed. Scans
	// make the share of popular shortcuts waver.
	fallDeviations = 4
	valueFallLeast = 0.08
	hotFallLeast   = 0.2
	// What is kept is what is left of the watched share, to this power, and minKeep at least.
	fallPower = 3
	minKeep   = 1.0 / 64

	// Counts are halved when all but a few shortcuts have enoughHits, or after this many
	// reads for each entry, and at least readsLeast.
	enoughHits    = 32
	readsPerEntry = 200
	readsLeast    = 4 << 20

	// passBuckets is how many buckets one call ages at most, so that no call takes long.
	passBuckets = 32

	// lowLevels are those whose hits are measured instead of taken at face value.
	lowLevels = 15
	// levelExposure is how many reads times entries must have been seen to trust that.
	levelExposure = 1e6
	// levelMemory is the number of windows after which older measurements count half.
	levelMemory = 64
)

// levelRate measures how often the entries with a low number of hits are hit.
type levelRate struct {
	hits     uint64  // in this window
	hitsPast float64 // before
	exposure float64 // sum over windows of entries times reads
}

// watch follows a share of the reads.
type watch struct{ usual float64 }

// shortcutHit counts a hit of a shortcut of some level.
func (p *epoch) shortcutHit(level uint64) {
	if level <= lowLevels {
		p.levels[level].hits++
	}
	if level >= p.hotLevel {
		p.hotHits++
	}
}

// valueHit counts a hit of a value that had so many hits.
func (p *epoch) valueHit(hits uint32) {
	if n := hits / hitUnit; n <= lowLevels {
		p.levels[n].hits++
	}
}

// credit returns what a number of hits is worth: the hits that entries with that many are
// expected to have, from how often they are hit now.
func (p *epoch) credit(hits float64) float64 {
	if hits >= lowLevels+1 {
		return hits
	}
	l := &p.levels[max(1, int(hits))]
	if l.exposure < levelExposure {
		return hits
	}
	return min(hits, l.hitsPast/l.exposure*p.reads)
}

// tick is called with every lookup that was no value hit.
func (p *epoch) tick(c *Cache, a *adaptive) {
	if p.passing {
		p.pass(c, a)
	}
	n := c.stats.lookups() - p.window
	if n < windowReads {
		return
	}
	values := c.stats.valueHits - p.values
	p.window, p.values = c.stats.lookups(), c.stats.valueHits
	if !p.passing {
		keep := p.value.see(float64(values)/float64(n), n, valueFallLeast)
		// Values show a change best. Where they answer little, popular shortcuts do.
		if k := p.hot.see(float64(p.hotHits)/float64(n), n, hotFallLeast); p.value.usual < 0.1 {
			keep = min(keep, k)
		}
		switch {
		case keep < 1:
			p.changes++
			p.age(a, max(minKeep, math.Pow(keep, fallPower)))
		case p.full(c):
			p.age(a, 0.5)
		}
	}
	p.reads += float64(n)
	p.measure(c, a, float64(n))
	p.chooseHot(c)
}

// see takes the share of a window of n reads and returns what is left of the usual one if it
// fell by the part least or more, else 1.
func (w *watch) see(share float64, n uint64, least float64) float64 {
	if w.usual == 0 {
		w.usual = share
	}
	fall := w.usual - share
	if fall > least*w.usual && fall > fallDeviations*math.Sqrt(w.usual*(1-min(w.usual, 1))/float64(n)) {
		left := share / w.usual
		w.usual = share
		return left
	}
	w.usual += (share - w.usual) / 8
	return 1
}

// full reports whether counts are higher than they need to be.
func (p *epoch) full(c *Cache) bool {
	if p.reads > max(readsLeast, readsPerEntry*float64(c.table.entries)) {
		return true
	}
	few := c.lfu.total / sweepShare
	for _, n := range c.lfu.byLevel[:enoughHits] {
		if few -= int(n); few < 0 {
			return false
		}
	}
	return c.lfu.total > 0
}

// measure closes the window of the low levels' rates.
func (p *epoch) measure(c *Cache, a *adaptive, reads float64) {
	p.windows++
	for level := 1; level <= lowLevels; level++ {
		l := &p.levels[level]
		l.exposure += float64(c.lfu.byLevel[level]+a.ranks.byHits[level]) * reads
		l.hitsPast += float64(l.hits)
		l.hits = 0
		if p.windows%levelMemory == 0 {
			l.exposure /= 2
			l.hitsPast /= 2
		}
	}
}

// chooseHot keeps hotLevel where between a twentieth and a quarter of the shortcuts are hot.
// Within that range it stays, so that the watched share does not jump.
func (p *epoch) chooseHot(c *Cache) {
	p.hotHits = 0
	total, hot := c.lfu.total, 0
	for _, n := range c.lfu.byLevel[p.hotLevel:] {
		hot += int(n)
	}
	if p.hotLevel > 0 && hot*20 >= total && hot*4 <= total {
		return
	}
	p.hot.usual = 0
	p.hotLevel = maxLevel
	for hot = 0; p.hotLevel > 2 && hot*8 < total; p.hotLevel-- {
		hot += int(c.lfu.byLevel[p.hotLevel])
	}
}

// age begins a pass that multiplies all hits with keep.
func (p *epoch) age(a *adaptive, keep float64) {
	p.passing, p.hand, p.keep = true, 0, keep
	p.passes++
	p.reads *= keep
}

// pass ages the next few buckets.
func (p *epoch) pass(c *Cache, a *adaptive) {
	for range passBuckets {
		if p.hand >= c.table.buckets {
			p.passing = false
			p.hotLevel = 0
			c.lfu.forget()
			a.ranks.forget()
			return
		}
		for i := range bucketSlots {
			if s := slotOf(p.hand, i); c.table.mark(s) != 0 {
				p.ageEntry(c, a, s)
			}
		}
		p.hand++
	}
}

func (p *epoch) ageEntry(c *Cache, a *adaptive, s slotID) {
	mark := c.table.mark(s)
	if mark&valueBit != 0 {
		k := c.chunk(ref(c.table.payload(s)))
		to := uint32(float64(k.hits()) * p.keep)
		a.ranks.changed(k.hits(), to, len(k))
		k.setHits(to)
		return
	}
	// Rounding up or down by chance keeps the sum.
	level := mark & levelMask
	hits := uint32(levelHits[level]*p.keep + float64(c.draw())/(1<<32))
	to := levelOf(hits)
	c.table.words[s] = mark&^levelMask | to
	c.lfu.moved(level, to)
}

// lost tells that entries were dropped for another reason than their popularity.
func (p *epoch) lost() { p.value.usual, p.hot.usual = 0, 0 }
