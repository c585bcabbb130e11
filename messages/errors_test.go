package messages

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestErrorTableIsComplete walks the generated enum, so that a new code without a sentinel fails here.
func TestErrorTableIsComplete(t *testing.T) {
	if len(errorTable) != len(AnnaError_name) {
		t.Fatalf("the table has %d codes, the enum %d", len(errorTable), len(AnnaError_name))
	}
	seen := make(map[string]AnnaError)
	for n, name := range AnnaError_name {
		code := AnnaError(n)
		err := ErrorOf(code)
		if code == AnnaError_NO_ERROR {
			if err != nil {
				t.Errorf("NO_ERROR is %v", err)
			}
			continue
		}
		if err == nil || errors.Is(err, ErrUnknownCode) {
			t.Errorf("%s has no sentinel", name)
			continue
		}
		if other, twice := seen[err.Error()]; twice {
			t.Errorf("%s and %s share %q", name, other, err)
		}
		seen[err.Error()] = code
		if got := CodeOf(fmt.Errorf("get key 1: %w", err)); got != code {
			t.Errorf("CodeOf(wrapped %s) = %s", name, got)
		}
		if !HasCode(err) {
			t.Errorf("HasCode(%s) is false", name)
		}
	}
}

func TestErrorsWithoutACode(t *testing.T) {
	for _, code := range []AnnaError{-1, AnnaError(len(errorTable)), 1 << 30} {
		if err := ErrorOf(code); !errors.Is(err, ErrUnknownCode) {
			t.Errorf("ErrorOf(%d) = %v", code, err)
		}
	}
	for _, c := range []struct {
		err  error
		code AnnaError
		has  bool
	}{
		{nil, AnnaError_NO_ERROR, true},
		{errors.New("disk on fire"), AnnaError_TIMEOUT, false},
		{context.DeadlineExceeded, AnnaError_TIMEOUT, true},
		{fmt.Errorf("x: %w", ErrMalformed), AnnaError_INVALID_REQUEST, true},
		{fmt.Errorf("x: %w", ErrInvalidAddress), AnnaError_INVALID_REQUEST, true},
	} {
		if CodeOf(c.err) != c.code || HasCode(c.err) != c.has {
			t.Errorf("%v: code %s, has %v; want %s, %v", c.err, CodeOf(c.err), HasCode(c.err), c.code, c.has)
		}
	}
}
