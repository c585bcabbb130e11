package nemesis

import (
	"context"
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
	"github.com/dinomo-kv/dinomo/dpm/inspect"
)

// Report is what a run found.
type Report struct {
	Seed     uint64        `json:"seed"`
	Shape    string        `json:"shape"`
	Duration time.Duration `json:"duration_ns"` // from the first operation to the last
	// Faults counts what was made, by kind; Missed what could not be, as there was nobody to hit.
	Faults map[string]int `json:"faults"`
	Missed int            `json:"missed"`
	Events []Event        `json:"events"`
	// History is the checker's verdict, Pictures the files that show bad keys.
	History  history.Report `json:"history"`
	Pictures []string       `json:"pictures,omitempty"`
	// Explained shows, for bad keys, the first operation that makes them so, with its surroundings.
	Explained []string `json:"explained,omitempty"`
	// Unserved lists keys that were not served in time after all faults had ended.
	Unserved []string `json:"unserved,omitempty"`
	// Damage lists what is wrong with the pool that the run left, as inspect.Verify sees it.
	Damage []string `json:"damage,omitempty"`
	// Silences are the times in which nothing at all succeeded, the longest first; Waits the longest times in which one
	// key was not served though clients tried.
	Silences []Gap `json:"silences,omitempty"`
	Waits    []Gap `json:"waits,omitempty"`

	directory string
}

// Passed says whether the run found nothing wrong.
func (r *Report) Passed() bool {
	return r.History.Verdict == history.Linearizable && len(r.Unserved)+len(r.Damage) == 0
}

// report has the history checked.
func (r *run) report(ctx context.Context) (*Report, error) {
	report := &Report{
		Seed: r.o.Seed, Shape: r.o.String(), Faults: map[string]int{}, Events: r.log.all, Unserved: r.unserved, directory: r.o.Directory,
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
	if report.Damage, err = damage(ctx, r.w.cluster.Conf().PoolPath()); err != nil {
		return nil, err
	}
	report.Silences, report.Waits = silences(ops, made), waits(ops, made)
	v, err := check(ops, r.o.CheckTime, r.o.Directory, r.o.Progress)
	if err != nil {
		return nil, err
	}
	report.History, report.Pictures, report.Explained = v.History, v.Pictures, v.Explained
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return nil, err
	}
	return report, os.WriteFile(filepath.Join(r.o.Directory, ReportFile), append(text, '\n'), 0o644)
}

// damage looks through a pool that nobody has open.
func damage(ctx context.Context, path string) ([]string, error) {
	v, err := inspect.Verify(ctx, path, inspect.VerifyOptions{MaxProblems: 20})
	if err != nil {
		return nil, fmt.Errorf("look through the pool: %w", err)
	}
	var found []string
	for _, p := range v.Problems {
		found = append(found, fmt.Sprint(p))
	}
	return found, nil
}

// Verdict is what the checker found in a history.
type Verdict struct {
	History             history.Report
	Pictures, Explained []string
}

// CheckFile checks a history file, giving each key at most perKey, and draws bad keys into pictures in a directory.
func CheckFile(path string, perKey time.Duration, directory string, progress func(phase string, fraction float64)) (*Verdict, error) {
	ops, err := readHistory(path)
	if err != nil {
		return nil, err
	}
	return check(ops, perKey, directory, progress)
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

// mostPictures bounds how many bad keys are drawn and explained: one shows the matter as a rule.
const mostPictures = 3

func check(ops []history.Operation, perKey time.Duration, directory string, progress func(string, float64)) (*Verdict, error) {
	v := &Verdict{History: history.Check(ops, perKey, func(done, keys int) { progress("check", float64(done)/float64(keys)) })}
	for i := range v.History.Bad[:min(len(v.History.Bad), mostPictures)] {
		bad := &v.History.Bad[i]
		if bad.Verdict != history.Violated {
			continue
		}
		if text := explain(ops, bad.Key, perKey); text != "" {
			v.Explained = append(v.Explained, text)
		}
		if bad.Why != "" {
			continue // there is nothing to draw
		}
		path := filepath.Join(directory, "bad-"+fileName(bad.Key)+".html")
		if err := picture(bad, path); err != nil {
			return nil, fmt.Errorf("draw key %q: %w", bad.Key, err)
		}
		v.Pictures = append(v.Pictures, path)
	}
	return v, nil
}

func picture(bad *history.BadKey, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = bad.Visualize(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
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
	fmt.Fprintf(&b, "seed %d: %s\n%.1f s, %d faults made, %d not (nobody to hit)\n", r.Seed, r.Shape, r.Duration.Seconds(), made, r.Missed)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&b, "  %-18s %4d\n", name, r.Faults[name])
	}
	writeVerdict(&b, &Verdict{r.History, r.Pictures, r.Explained})
	writeGaps(&b, "nothing at all was served", r.Silences)
	writeGaps(&b, "a key was not served", r.Waits)
	if len(r.Unserved) > 0 {
		fmt.Fprintf(&b, "NOT SERVED after everything was healed: %d keys: %s\n", len(r.Unserved), strings.Join(r.Unserved[:min(len(r.Unserved), 10)], " "))
	}
	for _, d := range r.Damage {
		fmt.Fprintf(&b, "DAMAGE in the pool: %s\n", d)
	}
	if !r.Passed() {
		fmt.Fprintf(&b, "replay with --seed %d; history, logs and report are in %s\n", r.Seed, r.directory)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteText prints a verdict for a person.
func (v *Verdict) WriteText(w io.Writer) error {
	var b strings.Builder
	writeVerdict(&b, v)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeVerdict(b *strings.Builder, v *Verdict) {
	r := &v.History
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
	for _, text := range v.Explained {
		b.WriteString(text)
	}
	for _, p := range v.Pictures {
		fmt.Fprintf(b, "  picture: %s\n", p)
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
