package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dinomo-kv/dinomo/cluster/run"
)

// reportFile is where a report goes as JSON. It has its name only when it is whole.
type reportFile struct {
	name string
	part *os.File // nil: none was asked for, or it is done
}

// openReport makes room for the report beside where it will be.
func (f *runFlags) openReport() (*reportFile, error) {
	if f.report == "" {
		return &reportFile{}, nil
	}
	part, err := os.CreateTemp(filepath.Dir(f.report), filepath.Base(f.report)+".part-")
	if err != nil {
		return nil, usageError{fmt.Errorf("--report: %w; give the name of a file in a directory that can be written", err)}
	}
	return &reportFile{name: f.report, part: part}, nil
}

// write completes the file.
func (r *reportFile) write(report *run.Report) error {
	if r.part == nil {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	_, err = r.part.Write(append(text, '\n'))
	if err = errors.Join(err, r.part.Chmod(0o644), r.part.Close()); err != nil {
		return err
	}
	if err := os.Rename(r.part.Name(), r.name); err != nil {
		return err
	}
	r.part = nil
	return nil
}

// discard removes what was not completed.
func (r *reportFile) discard() {
	if r.part != nil {
		r.part.Close()
		os.Remove(r.part.Name())
	}
}
