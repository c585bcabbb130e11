package replay

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// CurvesConfig says which policies to compare at which cache sizes.
type CurvesConfig struct {
	// Config is the replay that all have in common; its Policy and CacheBytes are not used.
	Config
	// Policies are names that dac.Options takes. Default: adaptive and paper.
	Policies []string
	// CacheSizes are budgets in bytes, rising. Default: nine sizes, each double the last, that
	// end at CacheBytes.
	CacheSizes []int
	// Progress, if set, is called after each replay.
	Progress func(done, total int)
}

// defaultSizes is the number of cache sizes if none are given.
const defaultSizes = 9

// Curves replays the trace through every policy at every size: the reports of one policy after
// those of the other, sizes in order. The optimum of a size is looked for once.
func Curves(cfg CurvesConfig) ([]Report, error) {
	cfg.EnsureDefaults()
	if len(cfg.Policies) == 0 {
		cfg.Policies = []string{"adaptive", "paper"}
	}
	if len(cfg.CacheSizes) == 0 {
		for i := range defaultSizes {
			cfg.CacheSizes = append(cfg.CacheSizes, cfg.CacheBytes>>(defaultSizes-1-i))
		}
	}
	best := make(map[int]Report, len(cfg.CacheSizes))
	reports := make([]Report, 0, len(cfg.Policies)*len(cfg.CacheSizes))
	for _, policy := range cfg.Policies {
		for _, size := range cfg.CacheSizes {
			one := cfg.Config
			one.Policy, one.CacheBytes = policy, size
			known, ok := best[size]
			one.NoOptimum = cfg.NoOptimum || ok
			rep, err := Run(one)
			if err != nil {
				return reports, fmt.Errorf("policy %s with %d bytes: %w", policy, size, err)
			}
			if ok {
				rep.setOptimum(Best{known.OptimumRoundTrips, known.OptimumValues, known.OptimumShortcuts}, known.OptimumIsFromTrace)
			} else if !one.NoOptimum {
				best[size] = rep
			}
			reports = append(reports, rep)
			if cfg.Progress != nil {
				cfg.Progress(len(reports), cap(reports))
			}
		}
	}
	return reports, nil
}

// ErrDrawing: there is nothing to draw, or the file's name does not say how.
var ErrDrawing = errors.New("cannot draw")

// Draw writes the reports of Curves as a picture: round trips per read over cache size, one
// line for each policy, and one for the optimum. The file's name ends in .png or .svg.
func Draw(reports []Report, file string) error {
	if len(reports) == 0 {
		return fmt.Errorf("%w %s: no replays", ErrDrawing, file)
	}
	if !strings.HasSuffix(file, ".png") && !strings.HasSuffix(file, ".svg") {
		return fmt.Errorf("%w %s: want a name that ends in .png or .svg", ErrDrawing, file)
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, a miss costs %.3g round trips", reports[0].Trace, reports[0].MissCost)
	p.X.Label.Text = "cache size"
	p.Y.Label.Text = "round trips per read"
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = sizeTicks{}
	p.Y.Min = 0
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	names, lines := series(reports)
	for i, name := range names {
		line, points, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return fmt.Errorf("%w %s: policy %s: %w", ErrDrawing, file, name, err)
		}
		line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
		points.Shape = plotutil.Shape(i)
		if name == optimumName {
			line.Dashes = plotutil.Dashes(1)
		}
		p.Add(line, points)
		p.Legend.Add(name, line, points)
	}
	if err := p.Save(8*vg.Inch, 5*vg.Inch, file); err != nil {
		return fmt.Errorf("%w %s: %w", ErrDrawing, file, err)
	}
	return nil
}

const optimumName = "best static choice"

// series sorts reports into lines, in the order of their first points.
func series(reports []Report) (names []string, lines map[string]plotter.XYs) {
	lines = map[string]plotter.XYs{}
	add := func(name string, r *Report, y float64) {
		if _, ok := lines[name]; !ok {
			names = append(names, name)
		}
		lines[name] = append(lines[name], plotter.XY{X: float64(r.CacheBytes), Y: y})
	}
	first := reports[0].Policy
	for i := range reports {
		r := &reports[i]
		add(r.Policy, r, r.RoundTripsPerRead)
		if r.hasOptimum && r.Policy == first {
			add(optimumName, r, r.OptimumRoundTrips)
		}
	}
	return names, lines
}

// sizeTicks marks the powers of two, in bytes with a unit.
type sizeTicks struct{}

// Ticks implements plot.Ticker.
func (sizeTicks) Ticks(from, to float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log2(from)); e <= math.Ceil(math.Log2(to)); e++ {
		ticks = append(ticks, plot.Tick{Value: math.Exp2(e), Label: sizeText(math.Exp2(e))})
	}
	return ticks
}

// sizeText renders a number of bytes with a binary unit.
func sizeText(bytes float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; bytes >= 1024 && i < len(units)-1; i++ {
		bytes /= 1024
	}
	return fmt.Sprintf("%.4g %s", bytes, units[i])
}
