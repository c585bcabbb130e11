package dpm

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// FuzzProcess: a process's name may look like what stands behind it; only the twentieth field behind the name counts.
func FuzzProcess(f *testing.F) {
	for _, command := range []string{"dinomo", "", "a) S 1 2 3", "(((", "\n)"} {
		f.Add(command, uint64(4242))
	}
	f.Fuzz(func(t *testing.T, command string, start uint64) {
		_ = startOf([]byte(command)) // whatever it is
		stat := fmt.Sprintf("77 (%s) S%s %d 0 0\n", command, strings.Repeat(" 5", 18), start)
		if got := startOf([]byte(stat)); got != start {
			t.Errorf("%q: started at %d", stat, got)
		}
		if got := startOf([]byte(strings.Replace(stat, ") S 5", ") Z 5", 1))); !strings.Contains(command, ") S 5") && got != 0 {
			t.Errorf("%q is dead, and started at %d", stat, got)
		}
	})
}

func TestProcessStart(t *testing.T) {
	if ProcessStart(uint32(os.Getpid())) == 0 || ProcessStart(1<<31) != 0 {
		t.Errorf("this process started at %d, none at %d", ProcessStart(uint32(os.Getpid())), ProcessStart(1<<31))
	}
}
