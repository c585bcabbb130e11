package remote

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// TestLongWaitsAreToldRarely: a pool that is away for an hour gives a line at once, and then ever fewer.
func TestLongWaitsAreToldRarely(t *testing.T) {
	start := time.Unix(1000, 0)
	c := clock.NewManual(start)
	var told []time.Duration
	s := &Session{o: Options{Clock: c, Waiting: func(error) { told = append(told, c.Now().Sub(start)/time.Second) }}}
	attempts := 0
	err := s.retry(context.Background(), func() error {
		if attempts++; attempts > 1200 {
			return nil
		}
		c.Advance(time.Second)
		return errors.New("nobody there")
	})
	if want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 812, 1112}; err != nil || !slices.Equal(told, want) {
		t.Errorf("%v; told after %d seconds, want %d", err, told, want)
	}
}
