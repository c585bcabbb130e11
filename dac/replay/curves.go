package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"text/tabwriter"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/dinomo-kv/dinomo/dac"
)

// CurvesConfig says which policies to compare at which cache sizes.
type CurvesConfig struct {
	// Config is the replay that all have in common; its Policy and CacheBytes are not used.
	Config
	// Policies are names that dac.Options takes. Default: adaptive and paper.
	Policies []string
	// CacheSizes are budgets in bytes, rising. Default: up to nine sizes, each double the last,
	// that end at CacheBytes.
	CacheSizes []int
	// Workers is how many replays run at a time. Default: the processors. Speeds are those of
	// replays that ran beside each other.
	Workers int
}

// defaultSizes is the number of cache sizes if none are given.
const defaultSizes = 9

// ensureDefaults sets what is zero to its default.
func (c *CurvesConfig) ensureDefaults() {
	c.EnsureDefaults()
	if len(c.Policies) == 0 {
		c.Policies = []string{dac.PolicyAdaptive, dac.PolicyPaper}
	}
	if len(c.CacheSizes) == 0 {
		for i := range defaultSizes {
			if size := c.CacheBytes >> (defaultSizes - 1 - i); size >= dac.MinBudgetBytes {
				c.CacheSizes = append(c.CacheSizes, size)
			}
		}
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
}

// Curves replays the trace through every policy at every size: the reports of one policy after
// those of the other, sizes in order. It ends early when ctx does.
func Curves(ctx context.Context, cfg CurvesConfig) ([]Report, error) {
	cfg.ensureDefaults()
	var each []Config
	for _, policy := range cfg.Policies {
		for _, size := range cfg.CacheSizes {
			one := cfg.Config
			one.Policy, one.CacheBytes, one.Progress = policy, size, func(string, float64) {}
			if err := one.Validate(); err != nil {
				return nil, fmt.Errorf("policy %s with %d bytes: %w", policy, size, err)
			}
			each = append(each, one)
		}
	}
	t, err := openTape(&cfg.Config)
	if err != nil {
		return nil, err
	}
	reports := make([]Report, len(each))
	jobs := make([]func() error, len(each))
	for i := range each {
		jobs[i] = func() (err error) {
			reports[i], err = t.run(&each[i])
			return err
		}
	}
	return reports, inParallel(ctx, cfg.Workers, jobs, cfg.Progress)
}

// WriteCurves prints the reports of Curves as a table.
func WriteCurves(w io.Writer, reports []Report) error {
	if len(reports) == 0 {
		return nil
	}
	fmt.Fprintf(w, "%s, a miss costs %.3g round trips\n\n", reports[0].Trace, reports[0].MissCost)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\tcache\tvalue hits\tshortcut hits\tmisses\tround trips/read\tbest static choice\tdistance\tMop/s\t")
	for i := range reports {
		r := &reports[i]
		best, distance := "-", "-"
		if r.hasOptimum {
			best = fmt.Sprintf("%.4f", r.OptimumRoundTrips)
			if r.OptimumRoundTrips > 0 {
				distance = fmt.Sprintf("%+.1f %%", 100*r.DistanceToOptimum)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f %%\t%.2f %%\t%.2f %%\t%.4f\t%s\t%s\t%.2f\t\n", r.Policy, sizeText(float64(r.CacheBytes)),
			100*r.ValueHitRatio, 100*r.ShortcutHitRatio, 100*r.MissRatio, r.RoundTripsPerRead, best, distance, r.OperationsPerSec/1e6)
	}
	return t.Flush()
}

// ErrDrawing: there is nothing to draw, or the file's name does not say how.
var ErrDrawing = errors.New("cannot draw")

// Drawable reports whether Draw knows how to write a file of this name.
func Drawable(file string) bool {
	return strings.HasSuffix(file, ".png") || strings.HasSuffix(file, ".svg")
}

// Draw writes the reports of Curves as a picture: round trips per read over cache size, one
// line for each policy, and one for the optimum. The file's name ends in .png or .svg.
func Draw(reports []Report, file string) error {
	if len(reports) == 0 {
		return fmt.Errorf("%w %s: no replays", ErrDrawing, file)
	}
	if !Drawable(file) {
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
