package pmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A look can hold a closed pool still, and cannot hold one that is open.
func TestHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool")
	f, err := Create(8192, Options{Path: path})
	must(t, err)
	look, err := Open(Options{Path: path, ReadOnly: true})
	must(t, err)
	if err := look.Hold(); !errors.Is(err, ErrLocked) {
		t.Errorf("an open pool is held: %v", err)
	}
	if holder := look.Holder(); !strings.Contains(holder, fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("holder is %q", holder)
	}
	must(t, f.Close())
	must(t, look.Hold())
	if _, err := Open(Options{Path: path}); !errors.Is(err, ErrLocked) {
		t.Errorf("a held pool is opened: %v", err)
	}
	must(t, look.Close())
	f, err = Open(Options{Path: path})
	must(t, err)
	must(t, f.Close())
}
