package nemesis

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client/history"
)

// Report is what a run found.
type Report struct {
	Seed     uint64        `json:"seed"`
	Fabric   string        `json:"fabric"`
	Duration time.Duration `json:"duration_ns"` // from the first operation to the last
	// Faults counts what was made, by kind; Missed what could not be, as there was nobody to hit.
	Faults map[string]int `json:"faults"`
	Missed int            `json:"missed"`
	Events []Event        `json:"events"`
	// History is the checker's verdict, Pictures the files that show bad keys.
	History  history.Report `json:"history"`
	Pictures []string       `json:"pictures,omitempty"`
	// Unserved lists keys that were not served in time after all faults had ended.
	Unserved []string `json:"unserved,omitempty"`
	// Silences are the times in which nothing at all succeeded, the longest first; Waits the longest times in which one
	// key was not served though clients tried.
	Silences []Gap `json:"silences,omitempty"`
	Waits    []Gap `json:"waits,omitempty"`

	directory string
}

// Passed says whether the run found nothing wrong.
func (r *Report) Passed() bool {
	return r.History.Verdict == history.Linearizable && len(r.Unserved) == 0
}

// report has the history checked.
func (r *run) report() (*Report, error) {
	report := &Report{
		Seed: r.o.Seed, Fabric: r.o.Fabric, Faults: map[string]int{}, Events: r.log.all, Unserved: r.unserved, directory: r.o.Directory,
	}
	var made []Event
	for _, e := range r.log.all {
		if e.Error != "" && e.Until == 0 {
			report.Missed++
			continue
		}
		report.Faults[e.Fault]++
		made = append(made, e)
	}
	ops, err := readHistory(filepath.Join(r.o.Directory, HistoryFile))
	if err != nil {
		return nil, err
	}
	if len(ops) > 0 {
		report.Duration = time.Duration(ops[len(ops)-1].Return)
	}
	report.Silences, report.Waits = silences(ops, made), waits(ops, made)
	report.History, report.Pictures, err = check(ops, r.o.CheckTime, r.o.Directory, r.o.Progress)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return nil, err
	}
	return report, os.WriteFile(filepath.Join(r.o.Directory, "report.json"), append(text, '\n'), 0o644)
}

// CheckFile checks a history file, giving each key at most perKey, and draws bad keys into pictures in a directory.
func CheckFile(path string, perKey time.Duration, directory string, progress func(phase string, fraction float64)) (*history.Report, []string, error) {
	ops, err := readHistory(path)
	if err != nil {
		return nil, nil, err
	}
	report, pictures, err := check(ops, perKey, directory, progress)
	return &report, pictures, err
}

func readHistory(path string) ([]history.Operation, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ops, err := history.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ops, nil
}

// mostPictures bounds how many bad keys are drawn: one shows the matter as a rule.
const mostPictures = 5

func check(ops []history.Operation, perKey time.Duration, directory string, progress func(string, float64)) (history.Report, []string, error) {
	report := history.Check(ops, perKey, func(done, keys int) { progress("check", float64(done)/float64(keys)) })
	var pictures []string
	for i := range report.Bad[:min(len(report.Bad), mostPictures)] {
		bad := &report.Bad[i]
		if bad.Why != "" {
			continue // words say it all
		}
		path := filepath.Join(directory, "bad-"+fileName(bad.Key)+".html")
		f, err := os.Create(path)
		if err != nil {
			return report, pictures, err
		}
		err = bad.Visualize(f)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return report, pictures, fmt.Errorf("draw key %q: %w", bad.Key, err)
		}
		pictures = append(pictures, path)
	}
	return report, pictures, nil
}

// fileName makes a key fit for a file's name.
func fileName(key string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, key[:min(len(key), 60)])
}

// WriteText prints the report for a person.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	made := 0
	for _, n := range r.Faults {
		made += n
	}
	fmt.Fprintf(&b, "seed %d, fabric %s: %.1f s, %d faults made, %d not (nobody to hit)\n", r.Seed, r.Fabric, r.Duration.Seconds(), made, r.Missed)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&b, "  %-18s %4d\n", name, r.Faults[name])
	}
	writeHistory(&b, &r.History)
	for _, p := range r.Pictures {
		fmt.Fprintf(&b, "  picture: %s\n", p)
	}
	writeGaps(&b, "nothing at all was served", r.Silences)
	writeGaps(&b, "a key was not served", r.Waits)
	if len(r.Unserved) > 0 {
		fmt.Fprintf(&b, "NOT SERVED after everything was healed: %d keys: %s\n", len(r.Unserved), strings.Join(r.Unserved[:min(len(r.Unserved), 10)], " "))
	}
	if !r.Passed() {
		fmt.Fprintf(&b, "replay with --seed %d; history, logs and report are in %s\n", r.Seed, r.directory)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteHistory prints a verdict for a person.
func WriteHistory(w io.Writer, r *history.Report, pictures []string) error {
	var b strings.Builder
	writeHistory(&b, r)
	for _, p := range pictures {
		fmt.Fprintf(&b, "  picture: %s\n", p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeHistory(b *strings.Builder, r *history.Report) {
	fmt.Fprintf(b, "%d operations on %d keys: %s\n", r.Operations, r.Keys, strings.ToUpper(string(r.Verdict)))
	for _, name := range slices.Sorted(maps.Keys(r.Outcomes)) {
		fmt.Fprintf(b, "  %-18s %8d\n", name, r.Outcomes[name])
	}
	for i, bad := range r.Bad {
		if i == 10 {
			fmt.Fprintf(b, "  and %d more\n", len(r.Bad)-i)
			break
		}
		why := bad.Why
		if why == "" {
			why = "no order of its operations explains them"
		}
		fmt.Fprintf(b, "  key %q, %d operations, %s: %s\n", bad.Key, bad.Operations, bad.Verdict, why)
	}
}

func writeGaps(b *strings.Builder, what string, gaps []Gap) {
	for i, g := range gaps {
		if i == 5 {
			break
		}
		fmt.Fprintf(b, "  %s for %.3f s from %.3f s%s, during %s\n", what, g.Length().Seconds(), g.From.Seconds(), g.of(), g.during())
	}
}
