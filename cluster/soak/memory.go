package soak

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Memory is what a process has resident, in bytes.
type Memory struct {
	Own    int64 `json:"own_bytes"`    // all but the pool's pages
	Pool   int64 `json:"pool_bytes"`   // pages of the pool's file
	Shared int64 `json:"shared_bytes"` // of Own, pages of files: the program itself, as a rule
}

// ReadMemory looks at a process. pool is the path of the pool's file.
func ReadMemory(pid int, pool string) (Memory, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return Memory{}, err
	}
	defer f.Close()
	m, err := parseSmaps(f, pool)
	if err != nil {
		return Memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return m, nil
}

// parseSmaps adds up what proc(5) shows of a process's mappings: for each a line "address perms offset device inode path", then lines
// "name: value kB".
func parseSmaps(r io.Reader, pool string) (Memory, error) {
	var m Memory
	path, mappings := "", 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), " ")
		switch {
		case !strings.HasSuffix(name, ":"):
			mappings++
			path = pathOf(rest)
		case name == "Rss:":
			kB, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 32)
			if err != nil {
				return Memory{}, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			m.add(path, pool, int64(kB)<<10)
		}
	}
	if err := lines.Err(); err != nil {
		return Memory{}, err
	}
	if mappings == 0 {
		return Memory{}, fmt.Errorf("no mappings: the process has ended")
	}
	return m, nil
}

func (m *Memory) add(path, pool string, bytes int64) {
	switch {
	case path == pool:
		m.Pool += bytes
	case strings.HasPrefix(path, "/"):
		m.Shared += bytes
		fallthrough
	default:
		m.Own += bytes
	}
}

// pathOf returns the sixth field of a mapping's line, which may have spaces in it and may be missing; rest begins with the second.
func pathOf(rest string) string {
	for range 4 {
		rest = strings.TrimLeft(rest, " ")
		_, after, ok := strings.Cut(rest, " ")
		if !ok {
			return ""
		}
		rest = after
	}
	return strings.TrimLeft(rest, " ")
}
