package lattice

import (
	"bytes"
	"testing"
)

// FuzzUsualLWW compares the fast reader with the one that takes any form.
func FuzzUsualLWW(f *testing.F) {
	for _, v := range []LWWValue{{}, {Timestamp: 7}, {Value: []byte("v")}, {Timestamp: 1 << 63, Value: bytes.Repeat([]byte("v"), 300)}} {
		p := v.Append(nil)
		f.Add(p)
		f.Add(append(p, p...))
		f.Add(append(p, 0x18, 1))
	}
	f.Add([]byte("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"))
	f.Add([]byte("\x12\x80\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		slow, err := parseAnyLWW(p)
		fast, ok := parseUsualLWW(p)
		if !ok {
			return
		}
		if err != nil || slow.Timestamp != fast.Timestamp || !bytes.Equal(slow.Value, fast.Value) {
			t.Fatalf("%x: fast %v, slow %v, %v", p, fast, slow, err)
		}
		if len(p) == fast.Size() && !bytes.Equal(fast.Append(nil), p) {
			t.Fatalf("%x is written as %x", p, fast.Append(nil))
		}
	})
}
