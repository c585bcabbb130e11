package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// VerifyOptions bound a verification. Zero fields mean their defaults.
type VerifyOptions struct {
	// MaxProblems is how many problems are kept; the rest is counted. Default 1,000.
	MaxProblems int
	Clock       clock.Clock
	// Progress is called now and then with how much of the work is done, 0 to 1. Default: nobody is.
	Progress func(done float64)
}

// EnsureDefaults fills zero fields.
func (o *VerifyOptions) EnsureDefaults() {
	if o.MaxProblems == 0 {
		o.MaxProblems = 1000
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Progress == nil {
		o.Progress = func(float64) {}
	}
}

// Verify checks the pool file at path. The error says why nothing could be looked at; a superblock that is damaged is a
// finding.
func Verify(ctx context.Context, path string, o VerifyOptions) (*VerifyReport, error) {
	o.EnsureDefaults()
	p, err := look.Open(look.Options{Path: path, Clock: o.Clock})
	if errors.Is(err, format.ErrSuperblock) || errors.Is(err, format.ErrTruncated) {
		r := &VerifyReport{Path: path, Unchecked: []string{"everything: the superblock says where it lies"}}
		r.add(&o, Damage, look.Damage{Offset: 0, Area: "superblock", Detail: err.Error()})
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := VerifyPool(ctx, p, o)
	return r, errors.Join(err, p.Close())
}

// VerifyPool checks a pool that is open for looking, whose superblock is sound therefore.
func VerifyPool(ctx context.Context, p *look.Pool, o VerifyOptions) (*VerifyReport, error) {
	o.EnsureDefaults()
	v := &verifier{ctx: ctx, p: p, l: p.Layout(), o: &o, r: &VerifyReport{Path: p.Path(), OpenBy: p.Holder()}}
	phases := []struct {
		name  string
		share float64 // of the work, about
		check func(part func(float64)) error
	}{
		{"tables", 0.02, v.checkTables},
		{"index", 0.48, v.checkIndex},
		{"logs", 0.5, v.checkLogs},
	}
	done := 0.0
	for _, phase := range phases {
		began := o.Clock.Now()
		err := phase.check(func(part float64) { o.Progress(done + part*phase.share) })
		v.r.Phases = append(v.r.Phases, VerifyPhase{phase.name, o.Clock.Now().Sub(began)})
		if ctx.Err() != nil {
			return v.r, ctx.Err()
		}
		if err != nil {
			v.failed(phase.name, err)
		}
		done += phase.share
	}
	o.Progress(1)
	return v.r, nil
}

// verifier is one verification under way.
type verifier struct {
	ctx context.Context
	p   *look.Pool
	l   *format.Layout
	o   *VerifyOptions
	r   *VerifyReport

	table    uint64 // that chains belongs to
	chains   chainSet
	words    map[uint32]uint64 // indirect-pointer word: offset of the slot that leads to it
	buffers  [2][]byte
	lookups  look.Chain
	overtake *look.Index // the table that checkOvertaken asks
	noIndex  bool        // there is none to ask
	unsound  []unsound   // parts of logs that were merged; the index says who misses them
}

// add keeps a problem, or counts it.
func (r *VerifyReport) add(o *VerifyOptions, s Severity, d look.Damage) {
	switch s {
	case Damage:
		r.Damaged++
	case Suspect:
		r.Suspect++
	default:
		r.Notes++
	}
	if len(r.Problems) < o.MaxProblems {
		r.Problems = append(r.Problems, Problem{s, d})
	}
}

func (v *verifier) damage(offset uint64, area, detail string, args ...any) {
	v.r.add(v.o, Damage, look.Damage{Offset: offset, Area: area, Detail: fmt.Sprintf(detail, args...)})
}

func (v *verifier) suspect(offset uint64, area, detail string, args ...any) {
	v.r.add(v.o, Suspect, look.Damage{Offset: offset, Area: area, Detail: fmt.Sprintf(detail, args...)})
}

// failed takes note of a phase that ended early.
func (v *verifier) failed(phase string, err error) {
	if errors.Is(err, format.ErrDamaged) {
		v.r.add(v.o, Damage, look.AsDamage(err, 0, phase))
	}
	v.r.Unchecked = append(v.r.Unchecked, fmt.Sprintf("%s: %v", phase, err))
}
