package coordinator

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

// watchRig reports one rank's lease word to a leaseWatch.
type watchRig struct {
	watch leaseWatch
	now   time.Time
	state messages.PoolState
	rank  *messages.RankState
}

const (
	testLimit = 1200 * time.Millisecond // lease and margin
	testPoll  = 100 * time.Millisecond
	testGap   = 300 * time.Millisecond
)

var watched = hashring.Member{Rank: 1, PrivateIP: "127.0.0.1", Incarnation: 1}

func newWatchRig() *watchRig {
	r := &watchRig{watch: newLeaseWatch(), now: time.Unix(1000, 0), rank: &messages.RankState{Rank: 1, Incarnation: 1, LeaseWord: 1}}
	r.state.ServerEpoch, r.state.Ranks = 1, []*messages.RankState{r.rank}
	r.report(0)
	return r
}

// report is a report of the pool after some time.
func (r *watchRig) report(after time.Duration) {
	r.now = r.now.Add(after)
	state := &messages.PoolState{ServerEpoch: r.state.ServerEpoch, Ranks: []*messages.RankState{messages.Clone(r.rank)}}
	r.watch.observe(r.now, state, testGap)
}

func (r *watchRig) dead() bool {
	_, dead := r.watch.dead(r.now, watched, testLimit)
	return dead
}

// untilDead reports each testPoll until the rank counts as dead, and returns how long that took.
func (r *watchRig) untilDead() time.Duration {
	began := r.now
	for !r.dead() {
		r.report(testPoll)
	}
	return r.now.Sub(began)
}

func TestSilentRankIsDeadAfterLeaseAndMargin(t *testing.T) {
	if took := newWatchRig().untilDead(); took <= testLimit || took > testLimit+testPoll {
		t.Errorf("dead after %v, want within a poll of %v", took, testLimit)
	}
}

// TestStallOfReportsDelaysAFailoverByItselfOnly: a busy machine whose reports come 600 ms late in the middle of a lease used to double
// the wait, as it began anew.
func TestStallOfReportsDelaysAFailoverByItselfOnly(t *testing.T) {
	r := newWatchRig()
	for range 6 {
		r.report(testPoll)
	}
	const stall = 600 * time.Millisecond
	r.report(stall)
	want := testLimit - 6*testPoll - testGap // of the stall, the gap counts
	if took := r.untilDead(); took <= want || took > want+testPoll {
		t.Errorf("dead %v after the stall, want within a poll of %v", took, want)
	}
}

// TestOutageOfThePoolEvictsNobody: whoever renews soon after an outage, of whatever length, is not taken for dead.
func TestOutageOfThePoolEvictsNobody(t *testing.T) {
	r := newWatchRig()
	r.report(testPoll)
	r.report(testPoll)
	r.report(time.Minute)
	for range 6 { // 2 polls, the gap and these make 1.1 s
		r.report(testPoll)
		if r.dead() {
			t.Fatalf("dead %v after an outage", r.now.Sub(time.Unix(1060, 0)))
		}
	}
	r.rank.LeaseWord++
	r.report(testPoll)
	if took := r.untilDead(); took <= testLimit {
		t.Errorf("dead %v after it renewed", took)
	}

	r = newWatchRig()
	for range 11 {
		r.report(testPoll)
	}
	r.state.ServerEpoch++
	r.report(testPoll)
	if took := r.untilDead(); took <= testLimit {
		t.Errorf("dead %v after a restart of the pool, want a full lease to connect again", took)
	}
}
