package inspect

import (
	"fmt"
	"io"
	"strings"
)

// WriteText shows the report for people.
func (r *EntryReport) WriteText(w io.Writer) {
	writeTable(w, func(row func(string, ...any)) {
		row("key\t%q", r.Key)
		row("hash\t%s", r.Hash)
		if r.Index.Found {
			row("index\tslot at %#x, bucket %d of its chain (%#x)", r.Index.Slot, len(r.Index.Buckets), r.Index.Buckets)
			if r.Index.Indirect != "" {
				row("\tthrough %s", r.Index.Indirect)
			}
			row("\tleads to %s", r.Index.Pointer)
		} else if r.Index.Error == "" {
			row("index\thas no such key (buckets %#x)", r.Index.Buckets)
		} else {
			row("index\thas no sound entry of the key (buckets %#x)", r.Index.Buckets)
		}
		if r.Index.Error != "" {
			row("DAMAGE\t%s", r.Index.Error)
		}
	})
	if r.Entry != nil {
		fmt.Fprintln(w)
		r.Entry.writeText(w)
	}
	for i := range r.Tail {
		fmt.Fprintf(w, "\nnot merged, %d of %d\n", i+1, len(r.Tail))
		r.Tail[i].writeText(w)
	}
}

func (e *Entry) writeText(w io.Writer) {
	var marks []string
	for _, mark := range []struct {
		on   bool
		name string
	}{{e.Live, "live"}, {e.Merged, "merged"}, {e.Replicated, "replicated"}, {!e.Current, "of an earlier life of its segment"}} {
		if mark.on {
			marks = append(marks, mark.name)
		}
	}
	writeTable(w, func(row func(string, ...any)) {
		row("entry\t%s at %#x, %d bytes; %s", e.Op, e.Offset, e.Bytes, strings.Join(marks, ", "))
		row("segment\t%d, byte %d: %s", e.Segment, e.SegmentOffset, e.SegmentHeader)
		row("sequence\t%d, generation %d", e.Sequence, e.Generation)
		row("lattice type\t%d", e.Lattice)
		row("value\t%d bytes, stored in %d, codec %s", e.RawBytes, e.StoredBytes, e.Codec)
		if e.ValueError != "" {
			row("DAMAGE\t%s", e.ValueError)
		}
	})
	writeHex(w, e.Value)
	if int(e.RawBytes) > len(e.Value) {
		fmt.Fprintf(w, "  ... %d bytes more\n", int(e.RawBytes)-len(e.Value))
	}
}

// writeHex shows bytes in hex and as text, 16 a line.
func writeHex(w io.Writer, b []byte) {
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		var text strings.Builder
		for _, c := range line {
			if c < 0x20 || c > 0x7e {
				c = '.'
			}
			text.WriteByte(c)
		}
		fmt.Fprintf(w, "  %04x  %-47s  %s\n", at, fmt.Sprintf("% x", line), text.String())
	}
}
