package conf

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes every key with its value and origin, one a line, then what follows from them, then the
// notes: --print-config.
func (l *Loaded) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range l.keys {
		effect := ""
		if k.note != "" {
			effect = " (no effect)"
		}
		fmt.Fprintf(table, "%s\t%s\t%v%s\n", k.path, shown(k.value), l.origins[k.path], effect)
	}
	for _, d := range l.derived() {
		fmt.Fprintf(table, "= %s\t%s\tfrom %s\n", d.Name, d.Value, d.From)
	}
	for _, n := range l.Notes {
		fmt.Fprintf(table, "note: %v\n", n)
	}
	return table.Flush() // the first error of all writes
}

// printedKey is a key in the JSON report.
type printedKey struct {
	Key      string `json:"key"`
	Value    any    `json:"value"`
	Layer    string `json:"layer"`
	Source   string `json:"source,omitempty"`
	Line     int    `json:"line,omitempty"`
	NoEffect string `json:"no_effect,omitempty"`
}

// PrintJSON writes the same as an object {"keys": [{"key", "value", "layer", "source", "line",
// "no_effect"}], "derived": [{"name", "value", "from"}], "notes": [text]}. Sizes and durations are
// texts with a unit.
func (l *Loaded) PrintJSON(w io.Writer) error {
	report := struct {
		Keys    []printedKey   `json:"keys"`
		Derived []derivedValue `json:"derived"`
		Notes   []string       `json:"notes"`
	}{Derived: l.derived(), Notes: []string{}}
	for _, k := range l.keys {
		o := l.origins[k.path]
		printed := printedKey{Key: k.path, Value: k.value.json(), Layer: o.Layer.String(), NoEffect: k.note}
		if o.Layer != LayerDefault {
			printed.Source, printed.Line = o.Source, o.Line
		}
		report.Keys = append(report.Keys, printed)
	}
	for _, n := range l.Notes {
		report.Notes = append(report.Notes, n.String())
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
