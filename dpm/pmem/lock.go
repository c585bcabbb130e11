package pmem

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lock takes the file for this process until it is closed. It does not wait.
func lock(file *os.File) error {
	err := ignoringEINTR(func() error { return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	if holder := lockHolder(file); holder != "" {
		return fmt.Errorf("%w by %s; stop it first", ErrLocked, holder)
	}
	return fmt.Errorf("%w by another process; stop it first", ErrLocked)
}

// lockHolder names the process that has the file locked, or returns "" when the system does not tell.
func lockHolder(file *os.File) string {
	var stat unix.Stat_t
	if unix.Fstat(int(file.Fd()), &stat) != nil {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	node := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 4321 fe:00:131074 0 EOF
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[5] != node {
			continue
		}
		name, _ := os.ReadFile("/proc/" + fields[4] + "/comm")
		return strings.TrimSpace(fmt.Sprintf("process %s %s", fields[4], strings.TrimSpace(string(name))))
	}
	return ""
}

// Hold keeps other processes from opening a region that was opened read-only as their pool, so that it stands still
// while it is looked at. It lasts until Close. It fails with ErrLocked, which names the holder, when the pool is open now.
func (f *File) Hold() error {
	err := ignoringEINTR(func() error { return unix.Flock(int(f.file.Fd()), unix.LOCK_SH|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w by %s", ErrLocked, cmp.Or(lockHolder(f.file), "another process"))
	}
	return err
}

// Holder names the process that has the region's file open as its pool, "" when there is none, or when the system
// does not tell (a process in another container).
func (f *File) Holder() string { return lockHolder(f.file) }
