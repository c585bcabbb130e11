package experiment

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/cluster/run"
)

// TestProfileCounts runs a tiny profile and checks what can be known beforehand: round trips by the budget, and where hits come
// from.
func TestProfileCounts(t *testing.T) {
	o := ProfileOptions{
		Options: options(t), Systems: []System{ParseSystem("dinomo-s"), ParseSystem("none"), ParseSystem("value-only")}, KNs: []int{1, 2},
		Workloads: []run.Mix{Workloads()[0], Workloads()[4]}, Seconds: 0.3,
	}
	o.CacheBytes = 8 << 20 // holds everything
	r, err := Profile(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 3*2*2 {
		t.Fatalf("%d rows, want 12", len(r.Rows))
	}
	for _, row := range r.Rows {
		name := strings.Join([]string{row.System, row.Workload}, ", ")
		if row.Operations == 0 || row.Throughput <= 0 || len(row.Errors) != 0 {
			t.Errorf("%s: %+v", name, row)
		}
		if row.Workload != "read-only" {
			if row.Writes == 0 || row.RoundTripsPerWrite > 1 || row.RoundTripsPerWrite <= 0 {
				t.Errorf("%s: %d writes at %v round trips", name, row.Writes, row.RoundTripsPerWrite)
			}
			continue
		}
		if row.Writes != 0 {
			t.Errorf("%s: %d writes", name, row.Writes)
		}
		// Until the pool has merged the load's last segments, a read may go through the table of unmerged entries.
		switch row.System {
		case "dinomo-s":
			if row.HitRatio < 0.999 || row.ValueShare != 0 || row.RoundTripsPerRead < 0.99 || row.RoundTripsPerRead > 1.001 {
				t.Errorf("%s: %+v; want a shortcut for every read, at 1 round trip", name, row)
			}
		case "none":
			if row.ValueShare > 0.01 || row.RoundTripsPerRead < 1 || row.RoundTripsPerRead > 2.01 {
				t.Errorf("%s: %+v; want no value hits, and 2 round trips for what is merged", name, row)
			}
		case "value-only":
			if row.ValueShare < 0.999 || row.RoundTripsPerRead > 0.05 {
				t.Errorf("%s: %+v; want values only, at no round trip", name, row)
			}
		}
	}
	checkOutputs(t, r, "50/50 insert", "round_trips_per_operation")
}

// checkOutputs writes a report in all its forms; the text has to contain one word, the JSON another.
func checkOutputs(t *testing.T, r interface {
	WriteText(io.Writer) error
	WriteJSON(string) error
	Draw(string) error
}, inText, inJSON string) {
	t.Helper()
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), inText) {
		t.Errorf("text: %v\n%s", err, &text)
	}
	t.Logf("%s", &text)
	file := filepath.Join(t.TempDir(), "report.json")
	if err := r.WriteJSON(file); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil || !json.Valid(written) || !bytes.Contains(written, []byte(`"`+inJSON+`"`)) {
		t.Errorf("JSON: %v\n%s", err, written)
	}
	for _, name := range []string{"report.png", "report.svg"} {
		path := filepath.Join(t.TempDir(), name)
		if err := r.Draw(path); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r.Draw(filepath.Join(t.TempDir(), "report.txt")) == nil {
		t.Error("a picture as .txt")
	}
}

func TestNames(t *testing.T) {
	if s := ParseSystem("Dinomo-S"); s.Policy != "shortcut-only" {
		t.Errorf("Dinomo-S is %+v", s)
	}
	if s := ParseSystem("static:0.2"); s.Policy != "static:0.2" {
		t.Errorf("a policy by its own name is %+v", s)
	}
	if w, err := ParseWorkload("50/50 insert"); err != nil || !w.Inserts || w.ReadRatio != 0.5 {
		t.Errorf("50/50 insert is %+v, %v", w, err)
	}
	if _, err := ParseWorkload("all of them"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("an unknown workload: %v", err)
	}
}
