package pmem

import (
	"fmt"
	"unsafe"
)

// The write-back instructions, best first. CLWB leaves the line cached; CLFLUSHOPT throws it out;
// CLFLUSH does so too, one line after the other.
const (
	writeBackNone = iota
	writeBackCLFLUSH
	writeBackCLFLUSHOPT
	writeBackCLWB
)

var writeBackNames = [...]string{"none", "clflush", "clflushopt", "clwb"}

// writeBackKind is the best instruction this processor has.
var writeBackKind = func() int {
	const (
		leaf1EDXClflush    = 1 << 19
		leaf7EBXClflushopt = 1 << 23
		leaf7EBXClwb       = 1 << 24
	)
	highest, _, _, _ := cpuid(0, 0)
	if highest >= 7 {
		_, ebx, _, _ := cpuid(7, 0)
		switch {
		case ebx&leaf7EBXClwb != 0:
			return writeBackCLWB
		case ebx&leaf7EBXClflushopt != 0:
			return writeBackCLFLUSHOPT
		}
	}
	if _, _, _, edx := cpuid(1, 0); edx&leaf1EDXClflush != 0 {
		return writeBackCLFLUSH
	}
	return writeBackNone
}()

// WriteBackInstruction names the instruction that DAX regions flush with, "none" when there is none.
func WriteBackInstruction() string { return writeBackNames[writeBackKind] }

// haveWriteBack returns nil when cache lines can be written back.
func haveWriteBack() error {
	if writeBackKind == writeBackNone {
		return fmt.Errorf("%w: the processor has none of CLWB, CLFLUSHOPT, CLFLUSH", ErrNoDAX)
	}
	return nil
}

// writeBackLines writes all cache lines of mem back, and returns when they have left the processor's
// caches for the persistent domain (store fence included).
func writeBackLines(mem []byte) { writeBackKindLines(mem, writeBackKind) }

func writeBackKindLines(mem []byte, kind int) {
	if len(mem) == 0 {
		return
	}
	start := unsafe.Pointer(&mem[0])
	skew := uintptr(start) % LineBytes
	lines := (skew + uintptr(len(mem)) + LineBytes - 1) / LineBytes
	first := unsafe.Add(start, -int(skew))
	switch kind {
	case writeBackCLWB:
		clwb(first, lines)
	case writeBackCLFLUSHOPT:
		clflushopt(first, lines)
	default:
		clflush(first, lines)
	}
}

//go:noescape
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

//go:noescape
func clwb(first unsafe.Pointer, lines uintptr)

//go:noescape
func clflushopt(first unsafe.Pointer, lines uintptr)

//go:noescape
func clflush(first unsafe.Pointer, lines uintptr)
