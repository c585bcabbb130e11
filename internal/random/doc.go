// Package random hands out seeded random sources.
//
// Every randomised test takes its seed from Seed, which prints it; TEST_SEED=n replays the run.
package random
