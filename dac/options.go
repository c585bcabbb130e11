package dac

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Policy names. A static policy is written "static:<share>", share being the part of the
// budget, 0 to 1, that values may take.
const (
	PolicyAdaptive     = "adaptive"
	PolicyPaper        = "paper"
	PolicyStatic       = "static"
	PolicyValueOnly    = "value-only"
	PolicyShortcutOnly = "shortcut-only"
	PolicyNone         = "none"
)

// MinBudgetBytes is the smallest budget of a cache that caches: the smallest table's 128 KiB
// and as much again for what the table points to.
const MinBudgetBytes = 256 << 10

// Errors of New.
var (
	// ErrPolicy: the policy's name is not known, or its share is not one.
	ErrPolicy = errors.New("unknown cache policy")
	// ErrBudget: the budget is too small or too large for the policy.
	ErrBudget = errors.New("cache budget out of range")
)

// Options says what a cache may hold. The zero value of a field stands for its default.
type Options struct {
	// Policy is one of the Policy names, "static:<share>" for PolicyStatic. Default: adaptive.
	Policy string
	// BudgetBytes is the most memory the cache takes, everything counted (DAC-1). At least
	// MinBudgetBytes, at most 1 TiB. Default 64 MiB. Ignored by PolicyNone, which takes none.
	BudgetBytes int
	// MaxValueBytes is the longest value that is kept as a value; longer ones are cached as
	// shortcuts only. Default 64 KiB, and never more than an eighth of the budget, so that a
	// few values cannot push out everything else. At most 1 MiB.
	MaxValueBytes int
	// MissCost, if above 0, is taken as the round trips of a miss instead of the measured
	// average. For replays and experiments.
	MissCost float64
	// Seed starts the cache's random choices. Two caches with equal options that see equal
	// calls behave equally. Default 1.
	Seed uint64
}

const (
	maxBudgetBytes = 1 << 40
	maxValueBytes  = 1 << 20
)

// EnsureDefaults sets what is zero to its default.
func (o *Options) EnsureDefaults() {
	if o.Policy == "" {
		o.Policy = PolicyAdaptive
	}
	if o.BudgetBytes == 0 {
		o.BudgetBytes = 64 << 20
	}
	if o.MaxValueBytes == 0 {
		o.MaxValueBytes = 64 << 10
	}
	o.MaxValueBytes = min(o.MaxValueBytes, o.BudgetBytes/8)
	if o.Seed == 0 {
		o.Seed = 1
	}
}

// Validate reports the first option that cannot be.
func (o *Options) Validate() error {
	if _, _, err := parsePolicy(o.Policy); err != nil {
		return err
	}
	if o.Policy != PolicyNone && (o.BudgetBytes < MinBudgetBytes || o.BudgetBytes > maxBudgetBytes) {
		return fmt.Errorf("%w: %d bytes, want %d to %d, or policy %q", ErrBudget, o.BudgetBytes, MinBudgetBytes, maxBudgetBytes, PolicyNone)
	}
	if o.MaxValueBytes < 0 || o.MaxValueBytes > maxValueBytes {
		return fmt.Errorf("longest cached value: %d bytes, want 0 to %d", o.MaxValueBytes, maxValueBytes)
	}
	if !(o.MissCost == 0 || o.MissCost >= 1 && o.MissCost <= 1000) {
		return fmt.Errorf("miss cost %v: want 0 (measured) or 1 to 1000 round trips", o.MissCost)
	}
	return nil
}

// parsePolicy splits a policy's name into its kind and, for a static one, its share.
func parsePolicy(name string) (kind string, share float64, err error) {
	kind, arg, hasArg := strings.Cut(name, ":")
	switch kind {
	case PolicyStatic:
		share, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return "", 0, fmt.Errorf("%w: %q: want %s:<share of the budget for values, 0 to 1>", ErrPolicy, name, PolicyStatic)
		}
		return kind, share, nil
	case PolicyAdaptive, PolicyPaper, PolicyValueOnly, PolicyShortcutOnly, PolicyNone:
		if !hasArg {
			return kind, 0, nil
		}
	}
	return "", 0, fmt.Errorf("%w: %q: want %s", ErrPolicy, name, strings.Join(Policies(), ", "))
}

// Policies returns the names of all policies, with a sample share for the static one.
func Policies() []string {
	return []string{PolicyAdaptive, PolicyPaper, PolicyStatic + ":0.5", PolicyValueOnly, PolicyShortcutOnly, PolicyNone}
}
