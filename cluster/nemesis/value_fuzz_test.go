package nemesis

import (
	"bytes"
	"testing"
)

// FuzzParseValue: a value that is taken for whole is, byte by byte, what its name says.
func FuzzParseValue(f *testing.F) {
	for _, n := range []int{0, 1, 100} {
		_, value := makeValue(3, 14, n)
		f.Add(value)
	}
	f.Add([]byte("3.14|-1|"))
	f.Add([]byte("3.14|2|aa"))
	f.Add([]byte("||"))
	f.Fuzz(func(t *testing.T, value []byte) {
		name, whole := parseValue(value)
		if !whole {
			return
		}
		head, padding, _ := bytes.Cut(value[len(name)+1:], []byte("|"))
		if len(head) == 0 || !bytes.Equal(padding, appendPadding(nil, name, len(padding))) {
			t.Errorf("%q is taken for whole, as %q", value, name)
		}
	})
}
