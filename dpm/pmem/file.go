package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Errors of Create, Open and NewVolatile.
var (
	// ErrLocked: another process has the file open as its pool.
	ErrLocked = errors.New("pool file is in use")
	// ErrNoDiskSpace: the file system cannot hold the whole region.
	ErrNoDiskSpace = errors.New("not enough disk space for the pool file")
	// ErrNoDAX: the file cannot be mapped as persistent memory.
	ErrNoDAX = errors.New("no persistent memory (dax) here")
)

// Options say how to map a file. Zero fields mean their defaults.
type Options struct {
	Path       string
	Durability Durability // default Process
	// Sparse leaves disk space to be found when pages are first written. Default false: Create allocates
	// the whole file, because a store that finds the disk full later ends the process with SIGBUS.
	Sparse bool
	// ReadOnly maps an existing file without locking it, to look at a pool that may be live: stores
	// panic, Fence fails with ErrReadOnly.
	ReadOnly bool
	// Sync is called instead of each fdatasync, with it: for tests, which delay it or have it fail. Default: nobody is.
	Sync func(fdatasync func() error) error
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Durability == 0 {
		o.Durability = Process
	}
}

// Validate returns an error that says which field is wrong.
func (o *Options) Validate() error {
	switch {
	case o.Path == "":
		return errors.New("pool file: no path given")
	case o.Durability != Process && o.Durability != Fsync && o.Durability != DAX:
		return fmt.Errorf("pool file %s: durability %v does not use a file; want process, fsync or dax", o.Path, o.Durability)
	}
	return nil
}

// File is a Region over a mapped file, or over anonymous memory that other processes can map (Volatile).
type File struct {
	mapping
	file       *os.File
	path       string
	durability Durability
	readOnly   bool
	commit     *groupCommit // Fsync only
	sync       func(fdatasync func() error) error
	writeBack  func(mem []byte)
	flushes    atomic.Uint64 // DAX only
	fences     atomic.Uint64
}

var _ Region = (*File)(nil)

// NewVolatile returns bytes of zero memory that lives as long as the process; Path leads other
// processes of the user to it while it lives. Memory is taken when it is first touched.
func NewVolatile(bytes uint64) (*File, error) {
	fd, err := unix.MemfdCreate("dinomo-pool", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create volatile pool memory: %w", err)
	}
	f := &File{
		file:       os.NewFile(uintptr(fd), "dinomo-pool"),
		path:       fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd),
		durability: Volatile,
	}
	if err := f.file.Truncate(int64(bytes)); err != nil {
		return nil, errors.Join(fmt.Errorf("size volatile pool memory to %d bytes: %w", bytes, err), f.Close())
	}
	if err := f.mapFile(bytes); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Create makes a file of that many zero bytes (a multiple of the page size), locks and maps it.
// It fails with fs.ErrExist when the path exists, and removes the file when anything else fails.
func Create(bytes uint64, o Options) (*File, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if bytes == 0 || bytes%4096 != 0 || o.ReadOnly {
		return nil, fmt.Errorf("create pool file %s: cannot make %d bytes (want a multiple of 4096), read-only %v", o.Path, bytes, o.ReadOnly)
	}
	file, err := os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create pool file: %w", err)
	}
	f := &File{file: file, path: o.Path, durability: o.Durability, sync: o.Sync}
	err = lock(file)
	if err == nil {
		err = allocate(file, bytes, o.Sparse)
	}
	if err == nil {
		err = f.mapFile(bytes)
	}
	if err == nil && o.Durability != Process {
		// The name and the length must be as durable as what will be promised about the contents.
		err = errors.Join(file.Sync(), syncDirectory(o.Path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create pool file %s: %w", o.Path, err), f.Close(), os.Remove(o.Path))
	}
	return f, nil
}

// Open locks and maps an existing file or device-dax, whole. It fails with fs.ErrNotExist, ErrLocked, ErrNoDAX or ErrEmptyFile.
func Open(o Options) (*File, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	if o.ReadOnly {
		flags = os.O_RDONLY
	}
	file, err := os.OpenFile(o.Path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("open pool file: %w", err)
	}
	f := &File{file: file, path: o.Path, durability: o.Durability, readOnly: o.ReadOnly, sync: o.Sync}
	if !o.ReadOnly {
		err = lock(file)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = file.Stat()
	}
	var bytes uint64
	if err == nil {
		bytes, err = bytesOf(info)
	}
	if err == nil {
		err = f.mapFile(bytes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pool file %s: %w", o.Path, err), f.Close())
	}
	return f, nil
}

// ErrEmptyFile is returned when a file is opened that has no bytes, and so cannot be mapped.
var ErrEmptyFile = errors.New("the file is empty, not a pool")

// mapFile maps the whole file and sets up flush and fence for its durability.
func (f *File) mapFile(bytes uint64) error {
	bytes &^= wordBytes - 1
	if bytes == 0 {
		return ErrEmptyFile
	}
	protection, flags := unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED
	if f.readOnly {
		protection = unix.PROT_READ
	} else if f.durability == DAX {
		if err := haveWriteBack(); err != nil {
			return err
		}
		flags = unix.MAP_SHARED_VALIDATE | unix.MAP_SYNC
	}
	mem, err := unix.Mmap(int(f.file.Fd()), 0, int(bytes), protection, flags)
	if err != nil {
		if f.durability == DAX && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)) {
			return fmt.Errorf("%w: %s is not on a file system mounted with -o dax over persistent memory (MAP_SYNC: %w); use fsync",
				ErrNoDAX, f.path, err)
		}
		return fmt.Errorf("map %d bytes of %s: %w", bytes, f.path, err)
	}
	f.mem = mem
	switch f.durability {
	case Fsync:
		fd := int(f.file.Fd())
		fdatasync := func() error { return ignoringEINTR(func() error { return unix.Fdatasync(fd) }) }
		f.commit = newGroupCommit(fdatasync)
		if f.sync != nil {
			f.commit = newGroupCommit(func() error { return f.sync(fdatasync) })
		}
	case DAX:
		f.writeBack = writeBackLines
	}
	return nil
}

// Path returns what another process maps to share the region.
func (f *File) Path() string { return f.path }

// Rename gives the file another name, durably: a pool is created under a temporary name and gets its
// own when it is whole.
func (f *File) Rename(path string) error {
	if err := os.Rename(f.path, path); err != nil {
		return fmt.Errorf("name pool file: %w", err)
	}
	f.path = path
	if f.durability == Process {
		return nil
	}
	return syncDirectory(path)
}

// Durability implements Region.
func (f *File) Durability() Durability { return f.durability }

// Store64 implements Region.
func (f *File) Store64(offset, value uint64) {
	f.mustBeWritable()
	f.mapping.Store64(offset, value)
}

// CompareAndSwap64 implements Region.
func (f *File) CompareAndSwap64(offset, expect, swap uint64) (before uint64, swapped bool) {
	f.mustBeWritable()
	return f.mapping.CompareAndSwap64(offset, expect, swap)
}

// Add64 implements Region.
func (f *File) Add64(offset, delta uint64) (before uint64) {
	f.mustBeWritable()
	return f.mapping.Add64(offset, delta)
}

// Write implements Region.
func (f *File) Write(offset uint64, src []byte) {
	f.mustBeWritable()
	f.mapping.Write(offset, src)
}

func (f *File) mustBeWritable() {
	if f.readOnly {
		panic("pmem: store to a region that was opened read-only")
	}
}

// Flush implements Region.
func (f *File) Flush(offset, length uint64) {
	mem := f.rangeOf(offset, length)
	switch {
	case f.commit != nil:
		f.commit.flush()
	case f.writeBack != nil && length > 0:
		f.flushes.Add(1)
		f.writeBack(mem)
	}
}

// Fence implements Region.
func (f *File) Fence() error {
	if f.readOnly {
		return ErrReadOnly
	}
	if f.commit != nil {
		return f.commit.fence()
	}
	// DAX: writeBackLines ends with its own store fence, because the fence of one processor does not
	// order the write-backs of another, and this Fence stands for all of them.
	f.fences.Add(1)
	return nil
}

// Metrics returns the counts so far. In modes where stores are durable at once only Fences counts.
func (f *File) Metrics() Metrics {
	if f.commit != nil {
		return Metrics{Flushes: f.commit.flushes.Load(), Fences: f.commit.fences.Load(), Commits: f.commit.commits.Load()}
	}
	return Metrics{Flushes: f.flushes.Load(), Fences: f.fences.Load()}
}

// Close implements Region. It drops the lock.
func (f *File) Close() error {
	err := f.unmap()
	if f.file != nil {
		err = errors.Join(err, f.file.Close())
		f.file = nil
	}
	return err
}

// allocate gives the file its length, and its disk space unless sparse.
func allocate(file *os.File, bytes uint64, sparse bool) error {
	if err := file.Truncate(int64(bytes)); err != nil || sparse {
		return err
	}
	// Look before asking: a file system that runs out halfway has nothing left for anybody else meanwhile.
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil {
		return fmt.Errorf("look for disk space: %w", err)
	}
	free := stat.Bavail * uint64(stat.Bsize)
	err := error(unix.ENOSPC)
	if free >= bytes {
		err = ignoringEINTR(func() error { return unix.Fallocate(int(file.Fd()), 0, 0, int64(bytes)) })
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: %d bytes wanted, %d free; free some, choose a smaller pool, or allow a sparse one", ErrNoDiskSpace, bytes, free)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return nil // this file system cannot allocate ahead; what is free now is all one can ask about
	}
	return err
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// syncDirectory makes the name at path durable.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
