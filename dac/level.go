package dac

import (
	"math"
	"sort"
)

// A hit count is kept in eight bits, as a level: exact up to exactLevels, from there on 16
// levels to a doubling, entered with the probability that keeps the expectation right
// (a Morris counter). 255 stands for some 31 thousand hits; more are not told apart.
const (
	maxLevel    = 255
	exactLevels = 128
	perDoubling = 16
)

// levelHits[l] is the number of hits that level l stands for.
var levelHits [maxLevel + 1]float64

// levelRise[l] is the chance, in 2^-32, that one more hit takes level l to l+1.
var levelRise [maxLevel + 1]uint32

func init() {
	for l := range levelHits {
		levelHits[l] = float64(l)
		if l > exactLevels {
			levelHits[l] = exactLevels * math.Exp2(float64(l-exactLevels)/perDoubling)
		}
	}
	for l := range maxLevel {
		levelRise[l] = math.MaxUint32
		if l >= exactLevels {
			levelRise[l] = uint32(math.MaxUint32 / (levelHits[l+1] - levelHits[l]))
		}
	}
}

// levelOf returns the highest level that stands for at most hits, and at least 1.
func levelOf(hits uint32) uint64 {
	if hits <= exactLevels {
		return uint64(max(hits, 1))
	}
	return uint64(sort.Search(maxLevel, func(l int) bool { return levelHits[l+1] > float64(hits) }))
}
