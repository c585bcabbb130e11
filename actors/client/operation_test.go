package client

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
)

func TestNothingHappened(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{messages.ErrWrongThread, true},
		{fmt.Errorf("put: %w", messages.ErrNoSpace), true},
		{ErrTooManyOutstanding, true},
		{context.DeadlineExceeded, true}, // the context's end alone: it was never sent
		{messages.ErrTimeout, false},
		{fmt.Errorf("%w: %w", context.DeadlineExceeded, messages.ErrTimeout), false}, // sent, and not answered in time
		{errors.New("something new"), false},
		{nil, false},
	} {
		if got := NothingHappened(c.err); got != c.want {
			t.Errorf("NothingHappened(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}
