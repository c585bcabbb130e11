package trace

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dinomo-kv/dinomo/internal/zipf"
)

// Laws is the grammar of synthetic traces, for messages and help texts.
const Laws = `zipf:THETA, uniform, shift:THETA,PERIOD (popularity reshuffled every PERIOD operations), ` +
	`scan:THETA,SHARE,LENGTH (that share of the operations walks LENGTH keys in order), ` +
	`drift:THETA,PERIOD (popularity swings between two orders and back once a PERIOD); ` +
	`each followed by any of ,keys=200000 ,ops=4000000 ,updates=0 ,values=N or FROM-TO ,load=0 (1: write every key once before) ,seed=1`

// Limits of a law's parameters.
const (
	maxKeys = 1 << 40
	maxOps  = 1 << 50
)

// Law is a synthetic trace.
type Law struct {
	Name    string  // zipf, shift, scan or drift; "uniform" is zipf with Theta 0
	Theta   float64 // Zipf exponent
	Period  uint64  // shift and drift: operations
	Share   float64 // scan: of the operations
	Length  uint64  // scan: keys
	Keys    uint64
	Ops     uint64
	Updates float64 // share of the operations that write
	// Values are between MinValue and MaxValue bytes, a fixed length for each key, even in the
	// logarithm of the length. Both NoSize: the trace does not say.
	MinValue, MaxValue int
	Seed               uint64
	// Load makes the trace begin with one update of each key, in an order of its own, on top
	// of Ops.
	Load bool
}

// TotalOps returns the number of operations, the load phase included.
func (l *Law) TotalOps() uint64 {
	if l.Load {
		return l.Ops + l.Keys
	}
	return l.Ops
}

// Stationary reports whether a key's popularity is the same throughout.
func (l *Law) Stationary() bool { return l.Name == "zipf" }

// parseLaw reads a law's name; ok is false if name does not begin like one.
func parseLaw(name string) (l Law, ok bool, err error) {
	kind, rest, _ := strings.Cut(name, ":")
	if c, args, comma := strings.Cut(name, ","); comma && !strings.Contains(c, ":") {
		kind, rest = c, args // uniform,keys=...
	}
	positional := map[string]int{"zipf": 1, "uniform": 0, "shift": 2, "scan": 3, "drift": 2}
	want, known := positional[kind]
	if !known {
		return Law{}, false, nil
	}
	l = Law{Name: kind, Keys: 200_000, Ops: 4_000_000, MinValue: NoSize, MaxValue: NoSize, Seed: 1}
	var args []string
	if rest != "" {
		args = strings.Split(rest, ",")
	}
	var plain []float64
	for _, a := range args {
		if key, value, named := strings.Cut(a, "="); named {
			err = l.setNamed(key, value)
		} else {
			var x float64
			x, err = strconv.ParseFloat(a, 64)
			plain = append(plain, x)
		}
		if err != nil {
			return Law{}, true, fmt.Errorf("%w: %q: %q: %w; want %s", ErrSpec, name, a, err, Laws)
		}
	}
	if len(plain) != want {
		return Law{}, true, fmt.Errorf("%w: %q has %d numbers, want %d: %s", ErrSpec, name, len(plain), want, Laws)
	}
	l.setPlain(plain)
	if err := l.validate(); err != nil {
		return Law{}, true, fmt.Errorf("%w: %q: %w", ErrSpec, name, err)
	}
	return l, true, nil
}

// ParseLaw returns the law that a trace's name stands for, if it is one.
func ParseLaw(name string) (Law, bool, error) { return parseLaw(name) }

func (l *Law) setPlain(p []float64) {
	p = append(slices.Clone(p), 0, 0, 0)
	switch l.Name {
	case "uniform":
		l.Name = "zipf"
	case "shift", "drift":
		l.Theta, l.Period = p[0], whole(p[1])
	case "scan":
		l.Theta, l.Share, l.Length = p[0], p[1], whole(p[2])
	default:
		l.Theta = p[0]
	}
}

// whole converts a number that a user wrote; what is no count becomes 0, which validate refuses.
func whole(x float64) uint64 {
	if !(x >= 0 && x <= maxOps) {
		return 0
	}
	return uint64(x)
}

func (l *Law) setNamed(key, value string) (err error) {
	switch key {
	case "keys":
		l.Keys, err = strconv.ParseUint(value, 10, 64)
	case "ops":
		l.Ops, err = strconv.ParseUint(value, 10, 64)
	case "seed":
		l.Seed, err = strconv.ParseUint(value, 10, 64)
	case "load":
		l.Load, err = strconv.ParseBool(value)
	case "updates":
		l.Updates, err = strconv.ParseFloat(value, 64)
	case "values":
		from, to, between := strings.Cut(value, "-")
		if !between {
			to = from
		}
		if l.MinValue, err = strconv.Atoi(from); err == nil {
			l.MaxValue, err = strconv.Atoi(to)
		}
	default:
		err = fmt.Errorf("unknown parameter %q", key)
	}
	return err
}

func (l *Law) validate() error {
	switch {
	case !(l.Theta >= 0 && l.Theta <= 100):
		return fmt.Errorf("theta %v: want 0 to 100", l.Theta)
	case l.Keys < 1 || l.Keys > maxKeys:
		return fmt.Errorf("%d keys: want 1 to %d", l.Keys, uint64(maxKeys))
	case l.Ops < 1 || l.Ops > maxOps:
		return fmt.Errorf("%d operations: want 1 to %d", l.Ops, uint64(maxOps))
	case !(l.Updates >= 0 && l.Updates <= 1):
		return fmt.Errorf("share of updates %v: want 0 to 1", l.Updates)
	case (l.Name == "shift" || l.Name == "drift") && l.Period < 1:
		return fmt.Errorf("period: want 1 to %d operations", uint64(maxOps))
	case l.Name == "scan" && !(l.Share >= 0 && l.Share <= 1 && l.Length >= 1):
		return fmt.Errorf("scan of share %v and length %d: want 0 to 1, and 1 to %d", l.Share, l.Length, uint64(maxOps))
	case l.MinValue != NoSize && !(l.MinValue >= 0 && l.MinValue <= l.MaxValue && l.MaxValue <= MaxValue):
		return fmt.Errorf("values of %d to %d bytes: want 0 to %d", l.MinValue, l.MaxValue, MaxValue)
	}
	return nil
}

// ValueBytes returns the length of key n's value, NoSize if the law does not say.
func (l *Law) ValueBytes(n uint64) int {
	if l.MinValue == NoSize || l.MinValue == l.MaxValue {
		return l.MinValue
	}
	// The length hangs on the key alone, not on its rank or on the seed's draws.
	u := float64(n*0x9e3779b97f4a7c15>>11) / (1 << 53)
	from, to := math.Log(float64(l.MinValue+1)), math.Log(float64(l.MaxValue+1))
	return int(math.Exp(from+u*(to-from))) - 1
}

// Popularity returns every key with its share of the reads, most popular first, for a
// stationary law.
func (l *Law) Popularity(yield func(key uint64, share float64) bool) {
	order, err := zipf.NewPermutation(l.Keys, l.Seed)
	if err != nil {
		return // a validated law has keys
	}
	total := zipf.Weight(l.Keys, l.Theta)
	for rank := range l.Keys {
		if !yield(order.Of(rank), math.Pow(float64(rank+1), -l.Theta)/total) {
			return
		}
	}
}
