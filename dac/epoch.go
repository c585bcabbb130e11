package dac

import "math"

// epoch is the part of the past that adaptive's hit counts stand for, and how it is forgotten.
//
// While popularity stays the same, long counts are good counts: they are only halved, when even
// the least shortcuts have many hits or very many reads have been counted. When popularity
// changes, old counts are worse than none. A change shows in the share of reads that what used
// to be popular answers: under a stationary load that share never falls but by chance. When it
// does fall, all counts are cut down the more the further it fell; unless the keys read instead
// do not come back, for then it is a scan, and what was popular will be so again.
type epoch struct {
	// reads is the number of reads that hit counts stand for, cut down whenever they are.
	reads float64

	window  uint64 // lookups that had been made when the current window began
	values  uint64 // and value hits
	misses  uint64 // and misses
	hot     watch  // shortcuts of hotLevel and above
	value   watch  // values
	changes uint64 // how often a change was noticed

	hotLevel   uint64
	hotHits    uint64 // in this window
	hotEntries int    // shortcuts that are hot
	levels     [lowLevels + 1]levelRate
	credits    [lowLevels + 1]float64
	windows    uint64

	// A sample of the keys read in this window otherwise than from values, and how many of
	// the sample came back.
	seen    [seenBits / 64]uint64
	repeats uint64
	scanned int // windows in a row that looked like a scan

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
	// Below this share values are too few to be watched: a fall of a third could be chance.
	valueShareLeast = 0.04
	// It is a scan if the sampled keys come back less often than this part of the fall.
	scanRepeats = 1.0 / 16
	// A scan that goes on for so many windows is what the load is like now.
	scanWindows = 64
	seenBits    = 8192
	seenSample  = 16 // one key in so many is in the sample

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
	// noHits is what no hits are worth at face value: keys not read yet will be, some of them.
	noHits = 0.5
	// levelPrior is how many hits at face value weigh as much as what is measured.
	levelPrior = 8
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
	if level <= lowLevels+1 {
		p.levels[level-1].hits++
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
	return min(max(hits, noHits), p.credits[int(hits)])
}

// tick is called with every lookup that was no value hit.
func (p *epoch) tick(c *Cache, a *adaptive, hash uint64) {
	if p.passing {
		p.pass(c, a)
	}
	p.sample(hash)
	n := c.stats.lookups() - p.window
	if n < windowReads {
		return
	}
	values, misses := c.stats.valueHits-p.values, c.stats.misses-p.misses
	p.begin(c)
	if !p.passing {
		p.value.expect(float64(a.ranks.hits) / hitUnit / max(p.reads, 1))
		left := p.left(c, share(values, n), share(p.hotHits, n), share(n-misses, n), float64(n))
		switch {
		case left < 1:
			p.changes++
			p.age(max(minKeep, math.Pow(left, fallPower)))
		case p.full(c):
			p.age(0.5)
		}
	}
	p.reads += float64(n)
	p.measure(c, a, float64(n))
	p.chooseHot(c)
	p.seen, p.repeats = [seenBits / 64]uint64{}, 0
}

// begin begins a window.
func (p *epoch) begin(c *Cache) {
	p.window, p.values, p.misses = c.stats.lookups(), c.stats.valueHits, c.stats.misses
}

// share returns the part that some are of n reads.
func share(some, n uint64) float64 { return float64(some) / float64(n) }

// sample notes a key of the sample, and whether it is there already.
func (p *epoch) sample(hash uint64) {
	if hash>>32%seenSample != 0 {
		return
	}
	bit := hash >> 40 % seenBits
	if p.seen[bit/64]>>(bit%64)&1 != 0 {
		p.repeats++
	}
	p.seen[bit/64] |= 1 << (bit % 64)
}

// left returns what is left of the popularity that was, 1 if it is the same, given the shares
// of a window of n reads that values, hot shortcuts and all entries answered. Values show a
// change best; where they answer little, hot shortcuts do.
func (p *epoch) left(c *Cache, values, hot, all, n float64) float64 {
	w, share, least, watched := &p.value, values, valueFallLeast, c.values
	if p.value.usual < valueShareLeast {
		p.value.see(values)
		w, share, least, watched = &p.hot, hot, hotFallLeast, p.hotEntries
	} else {
		p.hot.see(hot)
	}
	fall := w.fall(share, n, least)
	if fall == 0 {
		w.see(share)
		p.scanned = 0
		return 1
	}
	if p.scanned++; float64(p.repeats*seenSample) < scanRepeats*fall*n && p.scanned < scanWindows {
		return 1
	}
	p.scanned = 0
	usual := w.usual
	w.usual = share
	// As many entries of no popularity at all answer some reads too.
	chance := all * float64(watched) / float64(max(c.table.entries, 1))
	if share <= chance {
		return 0
	}
	return (share - chance) / (usual - chance)
}

// see follows the share.
func (w *watch) see(share float64) {
	if w.usual == 0 {
		w.usual = share
	}
	w.usual += (share - w.usual) / 8
}

// expect keeps the usual share at what the hits of those that are watched say: they may have
// become fewer for another reason than popularity, such as room for shortcuts.
func (w *watch) expect(share float64) { w.usual = min(w.usual, share) }

// fall returns by how much a share in n reads is below the usual one, 0 if that may be chance
// or is not even the part least of it.
func (w *watch) fall(share, n, least float64) float64 {
	fall := w.usual - share
	if fall <= least*w.usual || fall <= fallDeviations*math.Sqrt(w.usual*(1-min(w.usual, 1))/n) {
		return 0
	}
	return fall
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
	for level := 0; level <= lowLevels; level++ {
		l := &p.levels[level]
		l.exposure += float64(c.lfu.byLevel[level+1]+a.ranks.byHits[level]) * reads
		l.hitsPast += float64(l.hits)
		l.hits = 0
		if p.windows%levelMemory == 0 {
			l.exposure /= 2
			l.hitsPast /= 2
		}
	}
	p.appraise()
}

// newEpoch returns an epoch that takes all hits at face value.
func newEpoch() epoch {
	var p epoch
	for n := range p.credits {
		p.credits[n] = max(float64(n), noHits)
	}
	return p
}

// appraise sets what low numbers of hits are worth: a mean of face value and measurement, and
// not less than lower numbers are.
func (p *epoch) appraise() {
	least := 0.0
	for n := 1; n <= lowLevels; n++ {
		least = max(p.worth(n, float64(n)), least)
		p.credits[n] = least
	}
	p.credits[0] = min(p.worth(0, noHits), p.credits[1])
}

// worth returns what a number of hits is worth, given its face value, the most.
func (p *epoch) worth(n int, face float64) float64 {
	l := &p.levels[n]
	rate := (l.hitsPast + levelPrior) / (l.exposure + levelPrior*p.reads/face)
	return min(face, rate*p.reads)
}

// chooseHot keeps hotLevel where between a twentieth and a quarter of the shortcuts are hot.
// Within that range it stays, so that the watched share does not jump.
func (p *epoch) chooseHot(c *Cache) {
	p.hotHits = 0
	total, hot := c.lfu.total, 0
	for _, n := range c.lfu.byLevel[p.hotLevel:] {
		hot += int(n)
	}
	p.hotEntries = hot
	if p.hotLevel > 0 && hot*20 >= total && hot*4 <= total {
		return
	}
	level := uint64(maxLevel)
	for hot = int(c.lfu.byLevel[level]); level > 2 && hot*8 < total; {
		level--
		hot += int(c.lfu.byLevel[level])
	}
	p.hotEntries = hot
	if level != p.hotLevel {
		p.hotLevel, p.hot.usual = level, 0
	}
}

// age begins a pass that multiplies all hits with keep.
func (p *epoch) age(keep float64) {
	p.passing, p.hand, p.keep = true, 0, keep
	p.passes++
	p.reads *= keep
	p.appraise()
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
		c.table.tally.scale(p.hand, p.keep, c.draw())
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
	hits := uint32(hitsOf(level)*p.keep + float64(c.draw())/(1<<32))
	to := levelWith(hits)
	c.table.words[s] = mark&^levelMask | to
	c.lfu.moved(level, to)
}

// lost tells that entries were dropped for another reason than their popularity.
func (p *epoch) lost() { p.value.usual, p.hot.usual = 0, 0 }
