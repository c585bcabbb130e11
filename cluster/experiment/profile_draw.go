package experiment

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes of the profile's picture: a column for each workload, a row for each figure.
const (
	columnWidth = 7 * vg.Centimeter
	rowHeight   = 5 * vg.Centimeter
	pictureDPI  = 120
)

var palette = []color.RGBA{
	{R: 31, G: 119, B: 180, A: 255}, {R: 255, G: 127, B: 14, A: 255}, {R: 44, G: 160, B: 44, A: 255}, {R: 214, G: 39, B: 40, A: 255},
	{R: 148, G: 103, B: 189, A: 255}, {R: 140, G: 86, B: 75, A: 255}, {R: 90, G: 90, B: 90, A: 255},
}

// drawn are the figures that get a row of panels.
var drawn = []struct {
	name string
	of   func(*ProfileRow) float64
}{
	{"operations/s", func(r *ProfileRow) float64 { return r.Throughput }},
	{"round trips/operation", func(r *ProfileRow) float64 { return r.RoundTrips }},
	{"hits, % of reads", func(r *ProfileRow) float64 { return 100 * r.HitRatio }},
	{"value hits, % of hits", func(r *ProfileRow) float64 { return 100 * r.ValueShare }},
	{"bytes/operation", func(r *ProfileRow) float64 { return r.Bytes }},
}

// Draw writes the profile as bars over the number of KNs, to a .png or .svg file.
func (r *ProfileReport) Draw(path string) error {
	workloads := r.workloads()
	if len(workloads) == 0 {
		return fmt.Errorf("draw %s: nothing was measured", path)
	}
	width, height := columnWidth*vg.Length(len(workloads)), rowHeight*vg.Length(len(drawn))
	var canvas vg.CanvasWriterTo
	var surface vg.CanvasSizer
	switch strings.ToLower(filepath.Ext(path)) {
	case ".svg":
		c := vgsvg.New(width, height)
		canvas, surface = c, c
	case ".png":
		c := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(pictureDPI))
		canvas, surface = vgimg.PngCanvas{Canvas: c}, c
	default:
		return fmt.Errorf("draw %s: want a name that ends in .png or .svg", path)
	}
	panels := make([][]*plot.Plot, len(drawn))
	for i, figure := range drawn {
		for j, workload := range workloads {
			p, err := r.panel(workload, figure.of, i == 0 && j == 0)
			if err != nil {
				return fmt.Errorf("draw %s: %w", path, err)
			}
			if i == 0 {
				p.Title.Text = workload
			}
			if j == 0 {
				p.Y.Label.Text = figure.name
			}
			panels[i] = append(panels[i], p)
		}
	}
	tiles := draw.Tiles{Rows: len(drawn), Cols: len(workloads), PadX: 2 * vg.Millimeter, PadY: 2 * vg.Millimeter, PadTop: vg.Millimeter, PadRight: 2 * vg.Millimeter}
	for i, row := range plot.Align(panels, tiles, draw.New(surface)) {
		for j := range row {
			panels[i][j].Draw(row[j])
		}
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return fmt.Errorf("draw %s: %w", path, err)
	}
	return f.Close()
}

// panel shows one figure for one workload: a group of bars for each number of KNs, a bar for each system.
func (r *ProfileReport) panel(workload string, of func(*ProfileRow) float64, named bool) (*plot.Plot, error) {
	p := plot.New()
	systems := r.systems()
	var kns []string
	places := map[int]int{}
	for i := range r.Rows {
		if _, ok := places[r.Rows[i].KNs]; !ok {
			places[r.Rows[i].KNs] = len(kns)
			kns = append(kns, fmt.Sprintf("KNs: %d", r.Rows[i].KNs))
		}
	}
	barWidth := columnWidth * 0.6 / vg.Length(len(kns)*len(systems))
	for s, system := range systems {
		values := make(plotter.Values, len(kns))
		for i := range r.Rows {
			if row := &r.Rows[i]; row.Workload == workload && row.System == system {
				values[places[row.KNs]] = of(row)
			}
		}
		bars, err := plotter.NewBarChart(values, barWidth)
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width = palette[s%len(palette)], 0
		bars.Offset = barWidth * vg.Length(float64(s)-float64(len(systems)-1)/2)
		p.Add(bars)
		if named {
			p.Legend.Add(system, bars)
		}
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.NominalX(kns...)
	p.Y.Min, p.Y.Max = 0, max(p.Y.Max, 1e-9)*1.1
	if named {
		p.Y.Max *= 1.6 // room for the legend
	}
	return p, nil
}
