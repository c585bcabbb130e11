package experiment

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dinomo-kv/dinomo/actors/monitor"
	"github.com/dinomo-kv/dinomo/cluster"
)

// maxJournalLine bounds a line of an M-node's journal.
const maxJournalLine = 16 << 20

// decisionEvent is the kind of a policy's decision in the journal; the others are the coordinator's.
const decisionEvent = "decision"

// readJournal returns the events of the first M-node's journal, in order.
func readJournal(c *cluster.Cluster) ([]monitor.EventRecord, error) {
	path := filepath.Join(c.Conf().Dinomo.DataDirectory, "summaries-"+c.Topology().Network.Monitor(0)+".jsonl")
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the M-node's journal: %w", err)
	}
	defer f.Close()
	var events []monitor.EventRecord
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxJournalLine)
	for lines.Scan() {
		var s monitor.Summary
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return events, fmt.Errorf("the M-node's journal: %w", err)
		}
		events = append(events, s.Events...)
	}
	return events, errors.Join(lines.Err())
}

// label shortens an event's text to what fits beside a line.
func label(e monitor.EventRecord) string {
	text, _, _ := strings.Cut(e.Text, ": ")
	if e.Kind != decisionEvent {
		text, _, _ = strings.Cut(e.Text, ";")
	}
	const most = 70
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}
