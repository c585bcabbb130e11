package pmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HaveDAX says whether files in directory dir can be mapped as persistent memory and this
// processor's cache lines can be written back: nil when both hold, ErrNoDAX with the reason when
// one does not, another error when that could not be found out. It makes and removes a small file.
func HaveDAX(dir string) error {
	if err := haveWriteBack(); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".dax-probe-*")
	if err != nil {
		return fmt.Errorf("probe %s for dax: %w", dir, err)
	}
	defer os.Remove(probe.Name())
	defer probe.Close()
	if err := probe.Truncate(4096); err != nil {
		return fmt.Errorf("probe %s for dax: %w", dir, err)
	}
	mem, err := unix.Mmap(int(probe.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED_VALIDATE|unix.MAP_SYNC)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %s is not on a file system mounted with -o dax over persistent memory", ErrNoDAX, filepath.Clean(dir))
	}
	if err != nil {
		return fmt.Errorf("probe %s for dax: %w", dir, err)
	}
	return unix.Munmap(mem)
}
