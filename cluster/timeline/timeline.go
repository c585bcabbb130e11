package timeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Timeline is what an experiment leaves. Times are in seconds since its beginning.
type Timeline struct {
	Title string `json:"title"`
	// Facts says under which conditions it was recorded.
	Facts map[string]string `json:"facts,omitempty"`
	// StepSeconds is the length of each point.
	StepSeconds float64 `json:"step_seconds"`
	Points      []Point `json:"points"`
	Marks       []Mark  `json:"marks,omitempty"`
	Lines       []Line  `json:"lines,omitempty"`
}

// Point is one step. Latencies are 0 where nothing ended.
type Point struct {
	AtSeconds       float64 `json:"at_seconds"` // its beginning
	OpsPerSecond    float64 `json:"ops_per_second"`
	FailedPerSecond float64 `json:"failed_per_second,omitempty"`
	MeanMicros      float64 `json:"mean_us"`
	P50Micros       float64 `json:"p50_us"`
	P99Micros       float64 `json:"p99_us"`
	MaxMicros       float64 `json:"max_us"`
}

// Mark is an event.
type Mark struct {
	AtSeconds float64 `json:"at_seconds"`
	Label     string  `json:"label"`
}

// Line is something that was sampled: the number of nodes, the owners of a key.
type Line struct {
	Name    string   `json:"name"`
	Samples []Sample `json:"samples"`
}

// Sample is a value that holds from then on.
type Sample struct {
	AtSeconds float64 `json:"at_seconds"`
	Value     float64 `json:"value"`
}

// Mark adds an event.
func (t *Timeline) Mark(at time.Duration, format string, args ...any) {
	t.Marks = append(t.Marks, Mark{AtSeconds: at.Seconds(), Label: fmt.Sprintf(format, args...)})
	slices.SortStableFunc(t.Marks, func(a, b Mark) int { return cmp.Compare(a.AtSeconds, b.AtSeconds) })
}

// WriteJSON writes the timeline; ReadJSON reads it back.
func (t *Timeline) WriteJSON(w io.Writer) error {
	text, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// maxJSONBytes bounds what ReadJSON takes.
const maxJSONBytes = 64 << 20

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(r io.Reader) (*Timeline, error) {
	var t Timeline
	if err := json.NewDecoder(io.LimitReader(r, maxJSONBytes)).Decode(&t); err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	return &t, nil
}
