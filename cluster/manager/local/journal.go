package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/dinomo-kv/dinomo/messages"
)

// record is a node in the journal, which lists the nodes that a provisioner keeps, for the one that comes after it.
type record struct {
	Kind  messages.NodeKind `json:"kind"`
	IP    string            `json:"ip"`
	Token string            `json:"token"` // that the process carries
	PID   int               `json:"pid"`   // 0: not known yet
	// Restarts is how often the node was started again, Leaving that it was asked to end by itself.
	Restarts uint32 `json:"restarts"`
	Leaving  bool   `json:"leaving,omitempty"`
}

// maxRecords bounds what is taken from a journal.
const maxRecords = 4096

// writeJournal replaces the journal as a whole; a list without nodes is no file.
func writeJournal(path string, records []record) error {
	if len(records) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the list of nodes: %w", err)
		}
		return nil
	}
	text, err := json.MarshalIndent(records, "", " ")
	if err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the list of nodes: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("write the list of nodes: %w", err)
	}
	return nil
}

// readJournal returns what a journal lists; no file lists nothing.
func readJournal(path string) ([]record, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of nodes: %w", err)
	}
	records, err := decodeJournal(text)
	if err != nil {
		return nil, fmt.Errorf("the list of nodes that a management node before left, %s, is damaged: %w; end its processes, if any, and remove it", path, err)
	}
	return records, nil
}

// decodeJournal checks what readJournal has read.
func decodeJournal(text []byte) ([]record, error) {
	var records []record
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, err
	}
	if len(records) > maxRecords {
		return nil, fmt.Errorf("%d nodes, more than %d", len(records), maxRecords)
	}
	seen := map[string]bool{}
	for i, r := range records {
		if _, err := messages.ParseIP(r.IP); err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		if r.Kind == "" || r.Token == "" || r.PID < 0 || seen[r.IP] {
			return nil, fmt.Errorf("node %d at %s: no kind, no token, a number of a process that is none, or an IP that was there before", i, r.IP)
		}
		seen[r.IP] = true
	}
	return records, nil
}

// Left lists the processes of a journal that still run.
func Left(journal string) ([]int, error) {
	records, err := readJournal(journal)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, r := range records {
		if pid := numberOf(r.Token, r.PID); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// EndLeft kills the processes of a journal that still run, waits for their end, and removes the journal.
func EndLeft(journal string) error {
	records, err := readJournal(journal)
	if err != nil {
		return err
	}
	for _, r := range records {
		p, err := find(r.Token, r.PID)
		if err != nil {
			return err
		}
		p.signal(syscall.SIGKILL)
		<-p.ended
		p.release()
	}
	return writeJournal(journal, nil)
}
