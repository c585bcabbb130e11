package kn

import "time"

// pace makes a thread serve no more tuples a second than it is told, as if its processor were that slow: what waits, waits, and the
// thread counts as busy meanwhile. It is for experiments. On a machine with fewer cores than the cluster has threads, more KNs, or
// more owners of a key, cannot serve more; with a limit that the machine can meet for all threads together they can,
// and what is measured is how the load spreads.
type pace struct {
	each  time.Duration // the time that a tuple takes; 0: no limit
	until time.Time     // when what was served so far may have been served
}

// paceSlack is how far a thread may be ahead of its pace, so that it does not sleep for each tuple: sleeps shorter than that
// are not exact.
const paceSlack = time.Millisecond

// paceRound bounds how long a round takes, so that a slow thread still hears of changes of ownership in time.
const paceRound = 5 * time.Millisecond

// longestPace bounds a wait, also for requests of thousands of tuples.
const longestPace = 100 * time.Millisecond

// newPace makes the pace of a thread that serves rate tuples a second, or as many as it can if that is 0.
func newPace(rate int) pace {
	if rate == 0 {
		return pace{}
	}
	return pace{each: time.Second / time.Duration(rate)}
}

// served counts tuples whose serving began at a time, and returns how long the thread has to wait now.
func (p *pace) served(began, now time.Time, tuples uint64) time.Duration {
	if p.each == 0 || tuples == 0 {
		return 0
	}
	if p.until.Before(began) {
		p.until = began
	}
	p.until = p.until.Add(time.Duration(tuples) * p.each)
	if ahead := p.until.Sub(now); ahead > paceSlack {
		return min(ahead, longestPace) // the rest is waited for after the next round
	}
	return 0
}

// drain is how many requests a round may have, of at most most.
func (p *pace) drain(most int) int {
	if p.each == 0 {
		return most
	}
	return min(most, max(1, int(paceRound/p.each)))
}
