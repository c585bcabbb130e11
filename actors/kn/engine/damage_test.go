package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/hashring"
)

// A damaged entry is not served, whoever runs the node is told where it lies, and a new value heals the key.
func TestDamageIsToldWithItsAddress(t *testing.T) {
	r := newRig(t, "tcp", smallPool())
	writer := r.engine(0, Options{})
	mustBe(t, writer.put1("k", "value"), "ok")
	r.drain(writer)
	g, err := writer.link.thread.Get(hashring.KeyHash([]byte("k")), []byte("k"), 0)
	if err != nil {
		t.Fatal(err)
	}
	at := g.Pointer.Offset()
	word := r.pool.Region().Load64(at + 32)
	r.pool.Region().Store64(at+32, word^1<<5) // in the key
	var told []string
	e := r.engine(1, Options{Logf: func(f string, args ...any) { told = append(told, fmt.Sprintf(f, args...)) }})
	for range 3 {
		mustBe(t, e.get1("k"), "DAMAGED")
	}
	if len(told) == 0 || !strings.Contains(told[0], fmt.Sprintf("%#x", at)) || !strings.Contains(told[0], "damaged") {
		t.Errorf("told of damage at %#x: %q", at, told)
	}
	mustBe(t, e.put1("k", "healed"), "ok")
	mustBe(t, e.get1("k"), "=healed")
}
