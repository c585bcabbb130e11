package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Persistent memory comes as a file in a dax file system, or whole as a character device (device-dax,
// /dev/dax0.0). A device has no file system that could move its blocks, so that, unlike a file's, its
// pages can be registered with an RDMA card. It is never created or renamed, and has the size that it has.

// bytesOf returns the length of a file, or the size of a device-dax.
func bytesOf(info fs.FileInfo) (uint64, error) {
	if info.Mode()&fs.ModeCharDevice == 0 {
		return uint64(info.Size()), nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("a device without a number")
	}
	raw, err := os.ReadFile(fmt.Sprintf("/sys/dev/char/%d:%d/size", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)))
	if err != nil {
		return 0, fmt.Errorf("not a device-dax: %w", err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
}

// Device says whether the region is a device-dax: its first word is 0 until somebody formats it.
func (f *File) Device() bool {
	info, err := f.file.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
