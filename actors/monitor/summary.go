package monitor

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
)

// Summary is what one period brought. It marshals as one JSON line.
type Summary struct {
	Time    time.Time     `json:"time"`
	Seconds float64       `json:"seconds"`
	Epoch   uint64        `json:"epoch"`
	Members int           `json:"members"`
	Routes  int           `json:"routes"`
	Busy    bool          `json:"reconfiguring"`
	Users   UserSummary   `json:"users"`
	KNs     []KNSummary   `json:"kns"`
	Pool    *PoolSummary  `json:"pool,omitempty"`
	Hot     []HotKeyCount `json:"hot_keys,omitempty"`
	// Events are what the coordinator did in the period, Decisions what the policy found at its end, with the figures that led
	// to it.
	Events    []EventRecord `json:"events,omitempty"`
	Decisions []string      `json:"decisions,omitempty"`
}

// EventRecord is one of the coordinator's events with its time.
type EventRecord struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

// UserSummary is what benchmark and other users reported.
type UserSummary struct {
	Reporters         int     `json:"reporters"`
	Throughput        float64 `json:"throughput_ops_per_second"`
	LatencyMeanMicros float64 `json:"latency_mean_us"`
	LatencyP99Micros  float64 `json:"latency_p99_us"` // the worst reporter's
}

// KNSummary is what one KN did.
type KNSummary struct {
	PrivateIP string  `json:"private_ip"`
	Rank      uint32  `json:"rank"`
	Epoch     uint64  `json:"epoch"`
	Seconds   float64 `json:"seconds"` // on the KN's clock
	// Busiest is the occupancy of its busiest thread, 0 to 1.
	Busiest  float64          `json:"occupancy_max"`
	Counters figures.Counters `json:"counters"`
}

// PoolSummary is what the DPM last said of itself.
type PoolSummary struct {
	ServerEpoch       uint64 `json:"server_epoch"`
	Durability        string `json:"durability"`
	RanksAttached     int    `json:"ranks_attached"`
	UnmergedSegments  uint64 `json:"unmerged_segments"`
	OwnershipVersion  uint64 `json:"ownership_version"`
	Segments          uint64 `json:"segments"`
	FreeSegments      uint64 `json:"free_segments"`
	LiveBytes         uint64 `json:"live_bytes"`
	MillisecondsStale int64  `json:"milliseconds_stale"` // since the DPM said so
}

// HotKeyCount is a key and how often it was accessed in the last key report period.
type HotKeyCount struct {
	Key      string `json:"key"`
	Accesses uint64 `json:"accesses"`
}

// Throughput is the KN's operations a second.
func (k *KNSummary) Throughput() float64 {
	if k.Seconds <= 0 {
		return 0
	}
	return float64(k.Counters.Operations()) / k.Seconds
}

// Text shows the summary for people: a line for the cluster and one for each KN.
func (s *Summary) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d, %d KNs, %d routing nodes; users: %d, %.0f op/s, mean %.0f us, p99 %.0f us",
		s.Epoch, s.Members, s.Routes, s.Users.Reporters, s.Users.Throughput, s.Users.LatencyMeanMicros, s.Users.LatencyP99Micros)
	if s.Pool != nil {
		fmt.Fprintf(&b, "; pool: %d of %d segments free, %d unmerged", s.Pool.FreeSegments, s.Pool.Segments, s.Pool.UnmergedSegments)
	}
	if s.Busy {
		b.WriteString("; reconfiguring")
	}
	for i := range s.KNs {
		k := &s.KNs[i]
		r := k.Counters.Ratios()
		fmt.Fprintf(&b, "\n  %-15s rank %d: %.0f op/s, busy %.0f%%, value %.1f%% shortcut %.1f%% unmerged %.1f%% miss %.1f%%, %.2f trips/read, cache %s of %s, %d unmerged%s",
			k.PrivateIP, k.Rank, k.Throughput(), 100*k.Counters.Occupancy(), 100*r.ValueHit, 100*r.ShortcutHit, 100*r.UnmergedHit, 100*r.Miss,
			r.RoundTripsPerRead, mib(k.Counters.CacheBytesUsed), mib(k.Counters.CacheBytesBudget), k.Counters.UnmergedSegments,
			errorText(k.Counters.Errors))
	}
	return b.String()
}

func mib(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func errorText(errors map[string]uint64) string {
	if len(errors) == 0 {
		return ""
	}
	names := make([]string, 0, len(errors))
	for name, n := range errors {
		names = append(names, fmt.Sprintf("%s %d", name, n))
	}
	sort.Strings(names)
	return "; errors: " + strings.Join(names, ", ")
}
