package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Recorder writes a history as it happens. Its methods may be called from any goroutine.
type Recorder struct {
	clock clock.Clock
	start time.Time
	mu    struct {
		sync.Mutex
		w     *bufio.Writer
		err   error
		count int
	}
}

// NewRecorder starts a history that is written to w.
func NewRecorder(w io.Writer, c clock.Clock) *Recorder {
	r := &Recorder{clock: c, start: c.Now()}
	r.mu.w = bufio.NewWriterSize(w, 256<<10)
	return r
}

// Now returns the history's time: take it before an operation is sent and after its answer came.
func (r *Recorder) Now() int64 { return int64(r.clock.Now().Sub(r.start)) }

// Add records an operation that ended.
func (r *Recorder) Add(o Operation) {
	line, err := json.Marshal(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		_, err = r.mu.w.Write(append(line, '\n'))
	}
	if err != nil && r.mu.err == nil {
		r.mu.err = fmt.Errorf("record operation %d: %w", r.mu.count, err)
	}
	r.mu.count++
}

// Flush writes what is buffered and returns the first error of the recording, if any: a history with an error is
// incomplete and proves nothing.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mu.w.Flush(); err != nil && r.mu.err == nil {
		r.mu.err = fmt.Errorf("flush history: %w", err)
	}
	return r.mu.err
}

// Count returns how many operations were recorded.
func (r *Recorder) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.count
}
