package replay

import (
	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dac/trace"
)

// A tape is what replays of one trace have in common, whatever the policy and the size of the
// cache. It is read only, and may be shared by replays beside each other.
type tape struct {
	total uint64 // operations
	// keys are those read in the counted part, with their shares: of the true popularity where
	// the trace is made up and stationary, else, fromTrace, as often as they are read. Not set
	// with NoOptimum.
	keys      []Key
	fromTrace bool
}

// openTape goes through a trace as often as is needed to know what a tape holds.
func openTape(cfg *Config) (*tape, error) {
	law, isLaw, err := trace.ParseLaw(cfg.Trace)
	if err != nil {
		return nil, err
	}
	t := &tape{fromTrace: !isLaw || !law.Stationary()}
	if isLaw {
		t.total = law.TotalOps()
	} else {
		if err := t.countOps(cfg); err != nil {
			return nil, err
		}
	}
	switch {
	case cfg.NoOptimum:
	case t.fromTrace:
		err = t.countKeys(cfg)
	default:
		t.keys = make([]Key, 0, law.Keys)
		for key, share := range law.Popularity {
			t.keys = append(t.keys, cfg.key(share, trace.KeyBytes, law.ValueBytes(key)))
		}
	}
	return t, err
}

// countOps counts a file's operations. How many there are is what it is to find out, so its
// progress says only that it runs.
func (t *tape) countOps(cfg *Config) error {
	return each(cfg.Trace, func(*trace.Op) {
		if t.total++; t.total%batchOps == 0 {
			cfg.Progress("count operations", 0)
		}
	})
}

// countKeys counts the reads of each key after the warm-up.
func (t *tape) countKeys(cfg *Config) error {
	index := map[uint64]int{}
	warm, done := uint64(cfg.Warmup*float64(t.total)), uint64(0)
	return each(cfg.Trace, func(op *trace.Op) {
		if done++; done%batchOps == 0 {
			cfg.Progress("count keys", float64(done)/float64(t.total))
		}
		if done <= warm || op.Kind != trace.Get {
			return
		}
		h := xxhash.Sum64(op.Key)
		i, ok := index[h]
		if !ok {
			i = len(t.keys)
			index[h] = i
			t.keys = append(t.keys, cfg.key(0, len(op.Key), op.ValueBytes))
		}
		t.keys[i].Share++
	})
}

func (c *Config) key(share float64, keyBytes, valueBytes int) Key {
	if valueBytes == trace.NoSize {
		valueBytes = c.ValueBytes
	}
	k := Key{Share: share}
	k.ShortcutBytes, k.ValueBytes = dac.EntryBytes(keyBytes, valueBytes)
	return k
}
