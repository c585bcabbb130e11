package nemesis

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// TestRun is the whole thing, for a few seconds, as `dinomo check` does it: in a network of its own, where this user may
// have one. Long runs are make system.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	directory := t.TempDir()
	program := filepath.Join(directory, "dinomo")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/dinomo-kv/dinomo/tools/dinomo").CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	kept := filepath.Join(directory, "run")
	out, err := exec.CommandContext(t.Context(), program, "check", "--seconds", "5", "--keys", "300", "--rate", "3000", "--keep", kept,
		"--network", "127.83."+strconv.Itoa(os.Getpid()%250)+".0/24", "--seed", strconv.FormatUint(random.Seed(t), 10)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(kept, ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if !report.Passed() || report.History.Operations < 1000 || len(report.Faults) == 0 {
		t.Errorf("%d operations, %v\n%s", report.History.Operations, report.Faults, out)
	}
	verdict, err := CheckFile(filepath.Join(kept, HistoryFile), report.Duration, directory, func(string, float64) {})
	if err != nil || verdict.History.Verdict != history.Linearizable || verdict.History.Operations != report.History.Operations {
		t.Errorf("%v, %+v", err, verdict)
	}
}
