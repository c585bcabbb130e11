package experiment

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/monitor"
)

// FuzzJournal: what is read of a journal, an M-node could have written; no event's label is long.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","events":[{"time":"2026-01-02T03:04:04Z","kind":"change-commit","text":"epoch 2 in force after 3 ms: join: 1"}]}
{"seconds":2,"kns":[{"private_ip":"127.0.10.100"}],"events":[{"kind":"rank-dead","text":"rank 1: lease"},{"kind":"decision","text":"add"}]}
`))
	f.Add([]byte("{}\n\n"))
	f.Add([]byte(`{"events":[{"time":"yesterday"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := readEvents(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, e := range events {
			if text := label(e); len(text) > 200 {
				t.Errorf("%+v is labelled %q", e, text)
			}
		}
		line, err := json.Marshal(monitor.Summary{Events: events})
		if err != nil {
			t.Fatal(err)
		}
		again, err := readEvents(bytes.NewReader(line))
		if err != nil || !slices.EqualFunc(events, again, sameEvent) {
			t.Errorf("%+v written and read is %+v, %v", events, again, err)
		}
	})
}

func sameEvent(a, b monitor.EventRecord) bool {
	return a.Time.Equal(b.Time) && a.Kind == b.Kind && a.Text == b.Text
}
