package experiment

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
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
	return readEvents(f)
}

// readEvents returns the events of a journal, in order.
func readEvents(r io.Reader) ([]monitor.EventRecord, error) {
	var events []monitor.EventRecord
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxJournalLine)
	for lines.Scan() {
		var s monitor.Summary
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return events, fmt.Errorf("the M-node's journal: %w", err)
		}
		events = append(events, s.Events...)
	}
	if err := lines.Err(); err != nil {
		return events, fmt.Errorf("the M-node's journal: %w", err)
	}
	return events, nil
}

// label shortens an event's text to what fits beside a line: the decision without its figures, the change without its reason's
// reason.
func label(e monitor.EventRecord) string {
	parts := strings.SplitN(e.Text, ": ", 3)
	text := parts[0]
	if len(parts) > 1 {
		switch e.Kind {
		case "change-commit":
			epoch, took, _ := strings.Cut(parts[0], " in force after ")
			text = fmt.Sprintf("%s: %s (%s)", epoch, parts[1], took)
		case "rank-dead":
			text = "seen: " + parts[1]
		}
	}
	const most = 80
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
