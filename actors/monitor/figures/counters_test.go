package figures

import (
	"reflect"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
)

func report(run uint64, reads, hits, misses uint64) *messages.KnStatistics {
	return &messages.KnStatistics{
		PrivateIp: "127.0.0.1", Incarnation: run, UptimeSeconds: float64(reads), Reads: reads, ValueHits: hits, Misses: misses,
		RoundTripsRead: 2 * misses, RoundTripsMiss: 2 * misses, BytesRead: 64 * misses, Occupancy: 0.5,
		CacheBytesUsed: 100, CacheBytesBudget: 200, Errors: map[string]uint64{"KEY_DNE": reads / 10, "TIMEOUT": 1},
	}
}

func TestBetween(t *testing.T) {
	got := Between(report(1, 100, 60, 40), report(1, 300, 200, 100))
	if got.Reads != 200 || got.ValueHits != 140 || got.Misses != 60 || got.RoundTripsMiss != 120 {
		t.Errorf("%+v", got)
	}
	if want := map[string]uint64{"KEY_DNE": 20}; !reflect.DeepEqual(got.Errors, want) {
		t.Errorf("errors %v, want %v", got.Errors, want)
	}
	if got.CacheBytesUsed != 100 || got.OccupancySum != 0.5 || got.Threads != 1 {
		t.Errorf("gauges were subtracted: %+v", got)
	}
	r := got.Ratios()
	if r.ValueHit != 0.7 || r.Miss != 0.3 || r.RoundTripsPerMiss != 2 || r.RoundTripsPerRead != 0.6 || r.RoundTripsPerWrite != 0 {
		t.Errorf("%+v", r)
	}
}

func TestBetweenRuns(t *testing.T) {
	for name, before := range map[string]*messages.KnStatistics{
		"none": nil, "an earlier run": report(1, 100, 60, 40), "a later moment": report(2, 900, 1, 1),
	} {
		if got := Between(before, report(2, 50, 50, 0)); got.Reads != 50 || got.ValueHits != 50 {
			t.Errorf("before %s: %+v", name, got)
		}
	}
}

func TestAddSumsEverything(t *testing.T) {
	var sum Counters
	one := Of(report(1, 10, 6, 4))
	sum.Add(one)
	sum.Add(one)
	if sum.Reads != 20 || sum.Threads != 2 || sum.CacheBytesBudget != 400 || sum.Errors["TIMEOUT"] != 2 || sum.Occupancy() != 0.5 {
		t.Errorf("%+v", sum)
	}
	if one.Errors["TIMEOUT"] != 1 {
		t.Error("a summand changed")
	}
}

// TestEveryCounterIsSubtracted fails when a counter is added and growing forgets it.
func TestEveryCounterIsSubtracted(t *testing.T) {
	gauges := map[string]bool{"Threads": true, "CacheBytesUsed": true, "CacheBytesBudget": true, "UnmergedSegments": true, "StoredBytes": true}
	var c Counters
	for _, p := range c.growing() {
		*p = 1
	}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).Kind() == reflect.Uint64 && v.Field(i).Uint() == 0 && !gauges[name] {
			t.Errorf("%s is neither subtracted nor a gauge", name)
		}
	}
	for i := range reflect.TypeFor[VerbCounts]().NumField() {
		if reflect.ValueOf(c.Verbs).Field(i).Uint() == 0 {
			t.Errorf("verb count %d is not subtracted", i)
		}
	}
}
