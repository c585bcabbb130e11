package bench

import (
	"strings"
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	var out strings.Builder
	b := NewBar(&out, 2)
	b.Begin("LOAD:10:1:2:1")
	b.Update(Progress{Thread: 0, Command: "LOAD:10:1:2:1", Operations: 5, Total: 5})
	b.Update(Progress{Thread: 9, Command: "WARM:something else", Operations: 1, Total: 5})
	if s := out.String(); !strings.Contains(s, "LOAD:10:1:2:1") || !strings.Contains(s, "50%") || strings.Contains(s, "WARM") {
		t.Errorf("%q", s)
	}
	b.Update(Progress{Thread: 1, Command: "LOAD:10:1:2:1", Finished: true})
	b.End()
	b.Update(Progress{Thread: 0, Command: "RUN", Elapsed: time.Second, Duration: 4 * time.Second})
	if s := out.String(); !strings.Contains(s, "RUN") {
		t.Errorf("%q", s)
	}
	b.End()
}

func TestFraction(t *testing.T) {
	for want, p := range map[float64]Progress{
		0: {}, 0.5: {Operations: 5, Total: 10}, 0.25: {Elapsed: time.Second, Duration: 4 * time.Second}, 1: {Operations: 20, Total: 10},
	} {
		if got := p.Fraction(); got != want {
			t.Errorf("%+v: %g, want %g", p, got, want)
		}
	}
}
