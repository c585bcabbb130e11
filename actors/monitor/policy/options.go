package policy

import (
	"errors"
	"time"
)

// Options are the policy's constants. The zero value decides as the original does, but for the two switches.
type Options struct {
	// Elasticity lets KNs be added and removed; SelectiveReplication lets keys get more owners and lose them. As in the
	// original's configuration both are off unless asked for.
	Elasticity, SelectiveReplication bool

	// OnMean makes the SLO one on the mean latency, else on the 99th percentile.
	OnMean bool
	// SLO is the latency that users are promised. Default: 1,200 µs on the mean, 16,000 µs on the 99th percentile.
	SLO time.Duration
	// AddOccupancy: a KN is added only if the least occupied one is busier than this share. Default 0.20: below
	// that a slow answer has another cause than too few KNs.
	AddOccupancy float64
	// RemoveOccupancy: the least occupied KN is removed if it is busier than nothing but less than this. Default 0.15.
	RemoveOccupancy float64
	// MinKNs are never gone below by removing, MaxKNs never above by adding. Defaults 4 and 6.
	MinKNs, MaxKNs int
	// HotDeviations: a key is hot when its accesses are above mean + HotDeviations x standard deviation. Default 3.
	HotDeviations float64
	// MinHotAccesses: a key with fewer accesses in a period is not hot, whatever the others have: among keys that are hardly
	// asked for, one that was asked for four times is three standard deviations above the mean. Default 64 (the original has none).
	MinHotAccesses int
	// ColdDeviations: a replicated key is cold when its accesses are at or below mean - ColdDeviations x standard
	// deviation. Default 1.
	ColdDeviations float64
	// MinimumReplication is the number of nodes that a key keeps when it is de-replicated. Default 1.
	MinimumReplication int
	// GracePeriod after a reconfiguration: no decision. Default 90 s.
	GracePeriod time.Duration
	// AddKNs is how many KNs one decision adds. Default 1.
	AddKNs int
	// ReplicationStep is how many owners a hot key gets in addition, at least. Default 1.
	ReplicationStep int
	// MaxKeys bounds how many keys' replication one decision changes, the hottest first. Default 64.
	MaxKeys int
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.SLO == 0 {
		o.SLO = 16 * time.Millisecond
		if o.OnMean {
			o.SLO = 1200 * time.Microsecond
		}
	}
	for _, d := range []struct {
		field *float64
		value float64
	}{{&o.AddOccupancy, 0.20}, {&o.RemoveOccupancy, 0.15}, {&o.HotDeviations, 3}, {&o.ColdDeviations, 1}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.MinKNs, 4}, {&o.MaxKNs, 6}, {&o.MinimumReplication, 1}, {&o.AddKNs, 1}, {&o.ReplicationStep, 1}, {&o.MaxKeys, 64}, {&o.MinHotAccesses, 64}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.GracePeriod == 0 {
		o.GracePeriod = 90 * time.Second
	}
}

// Validate says which constants cannot be.
func (o *Options) Validate() error {
	switch {
	case o.SLO <= 0 || o.GracePeriod < 0:
		return errors.New("policy: the SLO must be positive and the grace period not negative")
	case o.MinKNs < 1 || o.MaxKNs < o.MinKNs:
		return errors.New("policy: want 1 <= minimum KNs <= maximum KNs")
	case o.AddOccupancy < 0 || o.AddOccupancy > 1 || o.RemoveOccupancy < 0 || o.RemoveOccupancy > 1:
		return errors.New("policy: occupancies are shares from 0 to 1")
	case o.RemoveOccupancy >= o.AddOccupancy:
		return errors.New("policy: a KN would be removed at an occupancy at which one is added; want remove < add")
	case o.MinimumReplication < 1 || o.MaxKeys < 1 || o.AddKNs < 1 || o.ReplicationStep < 1 || o.MinHotAccesses < 1:
		return errors.New("policy: minimum replication, keys, KNs to add, replication step and accesses of a hot key must be at least 1")
	}
	return nil
}
