package timeline

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes of a picture.
const (
	pictureWidth = 24 * vg.Centimeter
	panelHeight  = 6 * vg.Centimeter
	pngDPI       = 130
)

var (
	blue  = color.RGBA{R: 31, G: 119, B: 180, A: 255}
	red   = color.RGBA{R: 214, G: 39, B: 40, A: 255}
	green = color.RGBA{R: 44, G: 160, B: 44, A: 255}
	gray  = color.RGBA{R: 110, G: 110, B: 110, A: 255}
)

// Draw writes the picture to a file, as .png or .svg.
func (t *Timeline) Draw(path string) error {
	panels, err := t.panels()
	if err != nil {
		return fmt.Errorf("draw %q: %w", t.Title, err)
	}
	height := panelHeight * vg.Length(len(panels))
	var canvas vg.CanvasSizer
	switch strings.ToLower(filepath.Ext(path)) {
	case ".svg":
		canvas = vgsvg.New(pictureWidth, height)
	case ".png":
		canvas = vgimg.NewWith(vgimg.UseWH(pictureWidth, height), vgimg.UseDPI(pngDPI))
	default:
		return fmt.Errorf("draw %q: %s: want a name that ends in .png or .svg", t.Title, path)
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: 2 * vg.Millimeter, PadTop: vg.Millimeter, PadRight: 2 * vg.Millimeter}
	column := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		column[i] = []*plot.Plot{p}
	}
	canvases := plot.Align(column, tiles, draw.New(canvas))
	for i, p := range panels {
		p.Draw(canvases[i][0])
	}
	return save(path, canvas)
}

func save(path string, canvas vg.CanvasSizer) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	switch c := canvas.(type) {
	case *vgsvg.Canvas:
		_, err = c.WriteTo(f)
	case *vgimg.Canvas:
		_, err = vgimg.PngCanvas{Canvas: c}.WriteTo(f)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// panels makes the plots from top to bottom. They share the time's range, so that an event is one line through all.
func (t *Timeline) panels() ([]*plot.Plot, error) {
	until := t.until()
	throughput, err := t.throughputPanel()
	if err != nil {
		return nil, err
	}
	latencies, err := t.latencyPanel()
	if err != nil {
		return nil, err
	}
	panels := []*plot.Plot{throughput, latencies}
	for _, l := range t.Lines {
		p, err := linePanel(l, until)
		if err != nil {
			return nil, err
		}
		panels = append(panels, p)
	}
	for i, p := range panels {
		p.X.Min, p.X.Max = 0, until
		if err := t.addMarks(p, i == 0); err != nil {
			return nil, err
		}
	}
	panels[len(panels)-1].X.Label.Text = "seconds"
	return panels, nil
}

func (t *Timeline) until() float64 {
	until := t.StepSeconds
	for _, p := range t.Points {
		until = max(until, p.AtSeconds+t.StepSeconds)
	}
	for _, m := range t.Marks {
		until = max(until, m.AtSeconds)
	}
	return until
}

func (t *Timeline) throughputPanel() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = t.Title
	p.Y.Label.Text = "operations/s"
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	err := t.addSeries(p, "succeeded", blue, func(p Point) float64 { return p.OpsPerSecond })
	if err == nil && t.any(func(p Point) float64 { return p.FailedPerSecond }) {
		err = t.addSeries(p, "given up", red, func(p Point) float64 { return p.FailedPerSecond })
	}
	p.Y.Max = max(p.Y.Max*1.25, 1) // room for the events' names
	return p, err
}

func (t *Timeline) latencyPanel() (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = "latency, µs"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	for _, s := range []struct {
		name string
		c    color.RGBA
		of   func(Point) float64
	}{
		{"mean", green, func(p Point) float64 { return p.MeanMicros }}, {"p50", blue, func(p Point) float64 { return p.P50Micros }},
		{"p99", red, func(p Point) float64 { return p.P99Micros }},
	} {
		if err := t.addSeries(p, s.name, s.c, s.of); err != nil {
			return nil, err
		}
	}
	low, high := p.Y.Min, p.Y.Max
	if math.IsInf(low, 0) || low <= 0 {
		low, high = 1, max(high, 10) // nothing was recorded
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)+0.01))
	return p, nil
}

func linePanel(l Line, until float64) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = l.Name
	p.Add(plotter.NewGrid())
	var points plotter.XYs
	for i, s := range l.Samples {
		if i > 0 {
			points = append(points, plotter.XY{X: s.AtSeconds, Y: l.Samples[i-1].Value})
		}
		points = append(points, plotter.XY{X: s.AtSeconds, Y: s.Value})
	}
	if n := len(l.Samples); n > 0 {
		points = append(points, plotter.XY{X: until, Y: l.Samples[n-1].Value})
		if err := addLine(p, "", blue, points); err != nil {
			return nil, err
		}
	}
	p.Y.Min, p.Y.Max = min(p.Y.Min, 0), max(p.Y.Max, 1)*1.1
	return p, nil
}

func (t *Timeline) any(of func(Point) float64) bool {
	for _, p := range t.Points {
		if of(p) > 0 {
			return true
		}
	}
	return false
}

// addSeries adds one figure of the points, each at its step's middle. On a logarithmic axis there is no nothing: steps without
// operations are left out, which shows as a straight line.
func (t *Timeline) addSeries(p *plot.Plot, name string, c color.RGBA, of func(Point) float64) error {
	_, logarithmic := p.Y.Scale.(plot.LogScale)
	var points plotter.XYs
	for _, point := range t.Points {
		if y := of(point); !logarithmic || y > 0 {
			points = append(points, plotter.XY{X: point.AtSeconds + t.StepSeconds/2, Y: y})
		}
	}
	if len(points) == 0 {
		return nil
	}
	return addLine(p, name, c, points)
}

func addLine(p *plot.Plot, name string, c color.RGBA, points plotter.XYs) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, vg.Points(1)
	p.Add(line)
	if name != "" {
		p.Legend.Add(name, line)
		p.Legend.Top = true
	}
	return nil
}

// addMarks draws the events as vertical lines, with their names in the first panel.
func (t *Timeline) addMarks(p *plot.Plot, named bool) error {
	for i, m := range t.Marks {
		line, err := plotter.NewLine(plotter.XYs{{X: m.AtSeconds, Y: p.Y.Min}, {X: m.AtSeconds, Y: p.Y.Max}})
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = gray, vg.Points(0.7), []vg.Length{vg.Points(3), vg.Points(2)}
		p.Add(line)
		if !named {
			continue
		}
		// Names of events close to each other go to different heights.
		y := p.Y.Min + (p.Y.Max-p.Y.Min)*(0.97-0.09*float64(i%5))
		labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: m.AtSeconds, Y: y}}, Labels: []string{" " + m.Label}})
		if err != nil {
			return err
		}
		labels.TextStyle[0].Font.Size, labels.TextStyle[0].Color = vg.Points(7), gray
		labels.TextStyle[0].XAlign, labels.TextStyle[0].YAlign = text.XLeft, text.YTop
		if m.AtSeconds > 0.8*p.X.Max {
			labels.TextStyle[0].XAlign = text.XRight
		}
		p.Add(labels)
	}
	return nil
}
