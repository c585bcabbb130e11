package pmem

import "testing"

// Every write-back instruction that this processor has leaves the bytes as they are, also at the ends of a range.
func TestWriteBackInstructions(t *testing.T) {
	m, err := mapAnonymous(8192)
	must(t, err)
	defer m.unmap()
	for i := range m.mem {
		m.mem[i] = byte(i * 7)
	}
	for kind := writeBackCLFLUSH; kind <= writeBackKind; kind++ {
		for _, r := range [][2]int{{0, 1}, {63, 2}, {64, 64}, {100, 1000}, {8191, 1}, {0, 8192}, {5, 0}} {
			writeBackKindLines(m.mem[r[0]:r[0]+r[1]], kind)
		}
	}
	for i := range m.mem {
		if m.mem[i] != byte(i*7) {
			t.Fatalf("byte %d has changed", i)
		}
	}
}

func BenchmarkWriteBackLine(b *testing.B) {
	m, err := mapAnonymous(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer m.unmap()
	for i := range b.N {
		at := i * 64 % (1 << 20)
		m.mem[at]++
		writeBackLines(m.mem[at : at+64])
	}
}
