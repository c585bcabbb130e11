package dpm

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// ProcessStart returns the start time of a process of this machine, in clock ticks since boot: with the
// process id it names the process for ever. 0 when there is no such process.
func ProcessStart(pid uint32) uint64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return startOf(stat)
}

// startOf finds the start time in a process's stat file, 0 for one that is dead or no such file.
func startOf(stat []byte) uint64 {
	// The second field is the command in parentheses and may hold anything; the start time is the
	// twentieth field after it. State Z: dead, but not waited for.
	at := bytes.LastIndexByte(stat, ')')
	if at < 0 {
		return 0
	}
	fields := bytes.Fields(stat[at+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0
	}
	return start
}

// processAlive says whether the process named by pid and start may still run on this machine. When it is
// not known (pid 0) the answer is yes.
func processAlive(pid uint32, start uint64) bool {
	if pid == 0 {
		return true
	}
	now := ProcessStart(pid)
	return now != 0 && (start == 0 || now == start)
}
