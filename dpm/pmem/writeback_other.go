//go:build !amd64

package pmem

import (
	"fmt"
	"runtime"
)

// WriteBackInstruction names the instruction that DAX regions flush with.
func WriteBackInstruction() string { return "none" }

func haveWriteBack() error {
	return fmt.Errorf("%w: no cache write-back is implemented for %s", ErrNoDAX, runtime.GOARCH)
}

func writeBackLines([]byte) { panic("pmem: write-back without haveWriteBack") }
