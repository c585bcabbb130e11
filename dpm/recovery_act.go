package dpm

import (
	"errors"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// repair finishes or undoes what a crash cut short.
func (p *Pool) repair(found *recovery) error {
	if err := p.restoreMetadata(found.metadata); err != nil {
		return err
	}
	p.words.restore(found.words)
	p.quarantineAtOpen()
	p.report.IndirectWords = len(p.words.used) - p.words.free
	orphans := p.index.Orphans()
	p.report.OrphanedTables = len(orphans)
	if len(orphans) > 0 {
		p.index.MarkOrphans()
		if err := p.free(orphans); err != nil {
			return err
		}
	}
	for i := range p.segments {
		id := format.SegmentID(i)
		h := &p.segments[i].header
		if h.Kind != format.SegmentCompaction {
			continue
		}
		end, last := p.walkLog(id, 0, p.layout.SegmentBytes)
		p.compact.sequence = max(p.compact.sequence, last.Sequence)
		if h.State == format.SegmentOpen {
			if err := p.seal(id, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeAll merges and seals every log.
func (p *Pool) mergeAll() error {
	var work sync.WaitGroup
	streams := make(chan *stream)
	n := max(p.o.Workers, 1)
	errs := make([]error, n)
	for i := range n {
		work.Add(1)
		go func() {
			defer work.Done()
			var m merger
			for s := range streams {
				if errs[i] == nil {
					errs[i] = p.mergeAtOpen(s, &m)
				}
			}
		}()
	}
	for _, s := range p.streams() {
		streams <- s
	}
	close(streams)
	work.Wait()
	p.report.MergedEntries = p.counters.mergedEntries.Load()
	p.report.MergedBytes = p.counters.mergedBytes.Load()
	return errors.Join(errs...)
}

// mergeAtOpen merges and seals one log.
func (p *Pool) mergeAtOpen(s *stream, m *merger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		done, err := p.sealAll(s, m, callBudget)
		switch {
		case errors.Is(err, ErrNoSpace):
			s.mu.Unlock()
			progress, reclaimErr := p.reclaimStep()
			s.mu.Lock()
			if reclaimErr != nil || !progress {
				return errors.Join(err, reclaimErr)
			}
			continue
		case err != nil || done:
			return err
		}
		if _, err := p.growIndex(); err != nil { // before its chains get long
			return err
		}
	}
}

// reclaimAtOpen frees what turned out to be dead.
func (p *Pool) reclaimAtOpen() error {
	p.compact.Lock()
	defer p.compact.Unlock()
	p.tidyStreams()
	if _, err := p.freeTables(); err != nil { // nobody reads them yet
		return err
	}
	for {
		if progress, err := p.freeDead(); err != nil || !progress {
			return err
		}
	}
}
