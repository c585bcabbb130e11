package dpmnode

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// TestPoolErrorsSayWhatToDo opens what is no pool that can be served, and wants one line with a way out, and the file as it was.
func TestPoolErrorsSayWhatToDo(t *testing.T) {
	sound := filepath.Join(t.TempDir(), "pool")
	shape := format.Shape{SegmentBytes: 64 << 10, Segments: 32, FilterBytes: 1024}
	p, err := dpm.Open(dpm.Options{Path: sound, Shape: shape, Sparse: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	pool, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int) []byte {
		b := append([]byte(nil), pool...)
		b[at] ^= 0x40
		return b
	}
	for _, c := range []struct {
		name, want string
		content    []byte
	}{
		{"empty", "remove it", nil},
		{"foreign", "give another path", []byte(strings.Repeat("not a pool ", 1000))},
		{"version", "a program of that version", changed(8)},
		{"cut short", "dinomo restore", pool[:len(pool)/2&^4095]},
		{"damaged", "dinomo inspect verify", changed(100)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pool")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := dpm.Open(dpm.Options{Path: path})
			if err == nil {
				t.Fatal("it was opened")
			}
			if text := advise(err, path).Error(); !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("%q, want one line with %q", text, c.want)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(c.content) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestListenErrorsSayWhatToDo: each gets the advice that is meant for it, and one that nobody knows gets none.
func TestListenErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err        error
		with, bare string
	}{
		{syscall.EADDRINUSE, "stop what has it", "interface"},
		{syscall.EADDRNOTAVAIL, "no interface of this machine", "stop what"},
		{syscall.EACCES, "above 1023", "stop what"},
		{errors.New("no RDMA device"), "no RDMA device", ":"},
	} {
		err := adviseListen(&net.OpError{Op: "listen", Err: c.err})
		text := strings.TrimPrefix(err.Error(), "listen: ")
		if !errors.Is(err, c.err) || !strings.Contains(text, c.with) || strings.Contains(text, c.bare) {
			t.Errorf("%q, want it with %q and without %q", err, c.with, c.bare)
		}
	}
}
