package timeline

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// failover makes the timeline of a cluster that is away for half a second.
func failover() *Timeline {
	r := NewRecorder(100 * time.Millisecond)
	for at := time.Duration(0); at < 3*time.Second; at += time.Millisecond {
		switch {
		case at < time.Second || at >= 1500*time.Millisecond:
			r.Succeeded(at, 200*time.Microsecond+at/10000, 1)
		case at%(50*time.Millisecond) == 0:
			r.Failed(at)
		}
	}
	r.Succeeded(1500*time.Millisecond, 500*time.Millisecond, 1)
	t := r.Timeline("a node dies")
	t.Mark(time.Second, "killed")
	t.Mark(1500*time.Millisecond, "epoch %d", 2)
	t.Lines = []Line{{Name: "KNs", Samples: []Sample{{0, 3}, {1, 2}, {2.5, 3}}}}
	return t
}

func TestPoints(t *testing.T) {
	f := failover()
	if len(f.Points) != 30 {
		t.Fatalf("%d points", len(f.Points))
	}
	for i, want := range map[int]Point{
		0:  {AtSeconds: 0, OpsPerSecond: 1000},
		12: {AtSeconds: 1.2, FailedPerSecond: 20},
		15: {AtSeconds: 1.5, OpsPerSecond: 1010, MaxMicros: 500_000},
	} {
		p := f.Points[i]
		if p.AtSeconds != want.AtSeconds || p.OpsPerSecond != want.OpsPerSecond || p.FailedPerSecond != want.FailedPerSecond ||
			want.MaxMicros != 0 && p.MaxMicros != want.MaxMicros {
			t.Errorf("point %d: %+v, want %+v", i, p, want)
		}
		if p.OpsPerSecond == 0 && p.P99Micros != 0 || p.P50Micros > p.P99Micros || p.P99Micros > p.MaxMicros {
			t.Errorf("point %d: latencies make no sense: %+v", i, p)
		}
	}
}

func TestRecorderIsBounded(t *testing.T) {
	r := NewRecorder(time.Millisecond)
	r.Failed(time.Hour)
	r.Succeeded(time.Hour, time.Second, 1)
	if n := len(r.Timeline("").Points); n != 0 || r.Dropped() != 2 {
		t.Errorf("%d points, %d dropped", n, r.Dropped())
	}
}

func TestJSONRoundTrip(t *testing.T) {
	want := failover()
	var file bytes.Buffer
	if err := want.WriteJSON(&file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(&file)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %+v", err, got)
	}
	if _, err := ReadJSON(strings.NewReader("{")); err == nil {
		t.Error("half a timeline is read")
	}
}

func TestDraw(t *testing.T) {
	directory := t.TempDir()
	for name, timeline := range map[string]*Timeline{"failover": failover(), "empty": NewRecorder(time.Second).Timeline("nothing")} {
		path := filepath.Join(directory, name+".png")
		if err := timeline.Draw(path); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if picture, err := png.Decode(f); err != nil || picture.Bounds().Dx() < 800 {
			t.Errorf("%s: %v", name, err)
		}
		f.Close()
		path = filepath.Join(directory, name+".svg")
		if err := timeline.Draw(path); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "</svg>") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := failover().Draw(filepath.Join(directory, "x.gif")); err == nil || !strings.Contains(err.Error(), ".png") {
		t.Errorf("%v", err)
	}
}
