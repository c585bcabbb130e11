package inspect

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// writeTable writes rows of tab-separated cells in columns.
func writeTable(w io.Writer, rows func(row func(format string, args ...any))) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) })
	_ = t.Flush() // w keeps its own error
}

// bytesOf shows a size for people, and exactly.
func bytesOf(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.4g %s (%d)", f, units[u], n)
}

func writeDamage(w io.Writer, damage []string) {
	for _, d := range damage {
		fmt.Fprintf(w, "DAMAGE: %s\n", d)
	}
}

// WriteText shows the report for people.
func (r *PoolReport) WriteText(w io.Writer) {
	writeTable(w, func(row func(string, ...any)) {
		row("pool\t%s", r.PoolID)
		row("file\t%s", r.Path)
		row("open by\t%s", cmp.Or(r.OpenBy, "nobody"))
		row("format\tversion %d, created %s for durability %s", r.Version, r.Created.Format(time.RFC3339), r.Durability)
		row("size\t%s", bytesOf(r.Bytes))
		row("segments\t%d of %s", r.Segments, bytesOf(r.SegmentBytes))
		row("largest entry\t%s", bytesOf(r.MaxEntryBytes))
		row("started\t%d times", r.ServerEpoch)
	})
	fmt.Fprintln(w, "\nareas")
	writeTable(w, func(row func(string, ...any)) {
		for _, a := range r.Areas {
			row("  %s\t%#x\t%s", a.Name, a.Offset, bytesOf(a.Bytes))
		}
	})
	fmt.Fprintln(w, "\nmetadata")
	writeTable(w, func(row func(string, ...any)) {
		for _, m := range r.Metadata {
			row("  %s\tversion %d\t%d bytes\tat %#x\tslots: %s, %s", m.Name, m.Version, m.Bytes, m.Offset, m.Slots[0], m.Slots[1])
		}
	})
	if o := r.Ownership; o != nil {
		fmt.Fprintf(w, "\nownership: epoch %d, %d members, %d replicated keys\n", o.Epoch, len(o.Members), o.Replicated)
		for _, m := range o.Members {
			fmt.Fprintf(w, "  rank %d.%d  %s  %d threads\n", m.Rank, m.Incarnation, m.PrivateIP, m.Threads)
		}
	}
	fmt.Fprintln(w, "\nranks")
	writeTable(w, func(row func(string, ...any)) {
		for _, k := range r.Ranks {
			row("  %d.%d\t%s\tprocess %d\tlease word %#x", k.Rank, k.Incarnation, k.State, k.Process, k.Lease)
		}
	})
	writeDamage(w, r.Damage)
}

// WriteText shows the report for people.
func (r *SegmentsReport) WriteText(w io.Writer) {
	writeTable(w, func(row func(string, ...any)) {
		row("ID\tSTATE\tKIND\tOWNER\tGEN\tORDER\tMERGED\tSEALED\tTABLE\tLIVE ENTRIES\tLIVE BYTES\tLIVE")
		for _, s := range r.Segments {
			row("%d\t%s\t%s\t%d.%d/%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f%%", s.ID, s.State, s.Kind, s.Rank, s.Incarnation, s.Thread, s.Generation,
				s.Order, s.Merged, s.Sealed, s.Table, s.LiveEntries, s.LiveBytes, 100*float64(s.LiveBytes)/float64(r.SegmentBytes))
		}
	})
	fmt.Fprintf(w, "\n%d segments of %s: %d free", r.Total, bytesOf(r.SegmentBytes), r.Free)
	for _, kind := range slices.Sorted(maps.Keys(r.InUse)) {
		fmt.Fprintf(w, ", %d %s", r.InUse[kind], kind)
	}
	fmt.Fprintf(w, "\nlive %s; sealed and not merged %s\n", bytesOf(r.LiveBytes), bytesOf(r.Unmerged))
	writeDamage(w, r.Damage)
}

// WriteText shows the report for people.
func (r *IndexReport) WriteText(w io.Writer) {
	writeTable(w, func(row func(string, ...any)) {
		row("table\t%d, root %s, sequence %d", r.Table, r.Root, r.Sequence)
		row("buckets\t%d in %d segments, %d overflow buckets", r.Buckets, r.Extents, r.OverflowBuckets)
		row("keys\t%d, of these replicated %d", r.Keys, r.Replicated)
		row("load factor\t%.3f", r.LoadFactor)
		row("buckets per lookup\t%.4f", r.BucketsPerLookup)
		row("longest chain\t%d", r.LongestChain)
		for i, n := range r.ChainLengths {
			more := ""
			if i == maxChainShown-1 {
				more = " or more"
			}
			if n > 0 {
				row("chains of %d%s\t%d", i+1, more, n)
			}
		}
	})
	writeDamage(w, r.Damage)
}

// WriteText shows the report for people.
func (r *VerifyReport) WriteText(w io.Writer) {
	for i := range r.Problems {
		fmt.Fprintln(w, r.Problems[i].String()) // by itself it is printed as the error that a Damage is
	}
	if more := r.Damaged + r.Suspect + r.Notes - len(r.Problems); more > 0 {
		fmt.Fprintf(w, "... and %d more\n", more)
	}
	for _, u := range r.Unchecked {
		fmt.Fprintf(w, "not checked: %s\n", u)
	}
	k := &r.Checked
	fmt.Fprintf(w, "checked %s", r.Path)
	if r.OpenBy != "" {
		fmt.Fprintf(w, ", which %s has open", r.OpenBy)
	}
	fmt.Fprintf(w, ": %d metadata records, %d ranks, %d segments\n", k.MetadataRecords, k.Ranks, k.Segments)
	fmt.Fprintf(w, "index: %d buckets, %d keys (%d replicated), %s live\n", k.Buckets, k.Keys, k.IndirectWords, bytesOf(k.LiveBytes))
	fmt.Fprintf(w, "logs: %d segments, %d entries (%d not merged, %d of other lattice types than last-writer-wins), %s\n",
		k.Logs, k.LogEntries, k.UnmergedEntries, k.LatticeEntries, bytesOf(k.LogBytes))
	if k.Compressed > 0 {
		fmt.Fprintf(w, "compressed: %d values, %s in %s (ratio %.2f)\n",
			k.Compressed, bytesOf(k.RawBytes), bytesOf(k.StoredBytes), float64(k.RawBytes)/float64(max(k.StoredBytes, 1)))
	}
	var phases []string
	for _, phase := range r.Phases {
		phases = append(phases, fmt.Sprintf("%s %v", phase.Name, phase.Duration.Round(time.Microsecond)))
	}
	verdict := map[Status]string{StatusSound: "sound", StatusDamaged: "DAMAGED", StatusSuspect: "suspect", StatusFailed: "not all could be checked"}[r.Status()]
	notes := ""
	if r.Notes > 0 {
		notes = fmt.Sprintf(", %d noted that no key leads to", r.Notes)
	}
	fmt.Fprintf(w, "%s\n%s: %d damaged, %d suspect%s\n", strings.Join(phases, ", "), verdict, r.Damaged, r.Suspect, notes)
}
