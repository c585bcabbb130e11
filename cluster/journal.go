package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// journalBytes is the size from which a journal is put aside, as .1, and begun anew.
const journalBytes = 64 << 20

// journal is a file of JSON lines, bounded. It is used by one goroutine.
type journal struct {
	path  string
	file  *os.File
	bytes int64
}

// openJournal opens summaries-<ip>.jsonl in a directory, at its end.
func openJournal(directory, ip string) (*journal, error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	j := &journal{path: filepath.Join(directory, "summaries-"+ip+".jsonl")}
	return j, j.open()
}

func (j *journal) open() error {
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the journal: %w", err)
	}
	j.file, j.bytes = f, info.Size()
	return nil
}

// write appends v as one line.
func (j *journal) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if j.bytes+int64(len(line)) > journalBytes {
		if err := j.file.Close(); err != nil {
			return err
		}
		if err := os.Rename(j.path, j.path+".1"); err != nil {
			return err
		}
		if err := j.open(); err != nil {
			return err
		}
	}
	n, err := j.file.Write(append(line, '\n'))
	j.bytes += int64(n)
	return err
}

func (j *journal) close() error { return j.file.Close() }
