package lattice_test

import (
	"encoding/hex"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("hex %q: %v", s, err)
	}
	return b
}

func marshal(t testing.TB, m messages.Message) []byte {
	t.Helper()
	b, err := messages.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, b []byte, m messages.Message) {
	t.Helper()
	if err := messages.Unmarshal(b, m); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
}
