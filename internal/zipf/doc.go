// Package zipf draws ranks with Zipf's law and scatters them over a key space.
//
// ZIPF-1: a Sampler is exact: rank k comes with probability proportional to (k+1)^-theta for
// every theta >= 0, 1 and 0 (uniform) included, whatever the number of ranks.
// ZIPF-2: a Sampler and a Permutation cost a few words each, with no table over the ranks, so
// every thread of a load generator has its own at 100 million keys.
//
// It keeps no random source: the caller passes one, and the same source gives the same draws.
package zipf
