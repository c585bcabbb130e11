package shm

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// extra is the listener's part of its answer: which file to map, and the word that says who serves it.
type extra struct {
	identity
	life fabric.Life
}

const extraBytes = identityBytes + 16

func (e extra) encode() []byte {
	b := binary.LittleEndian.AppendUint64(e.identity.encode(), e.life.Offset)
	return binary.LittleEndian.AppendUint64(b, e.life.Word)
}

// parseExtra reads an extra part. poolBytes bounds where the word may be.
func parseExtra(b []byte, poolBytes uint64) (e extra, err error) {
	if len(b) != extraBytes {
		return extra{}, fmt.Errorf("listener describes its file in %d bytes, want %d: %w", len(b), extraBytes, fabric.ErrWrongPool)
	}
	e.life = fabric.Life{Offset: binary.LittleEndian.Uint64(b[identityBytes:]), Word: binary.LittleEndian.Uint64(b[identityBytes+8:])}
	if e.life.Offset%wordBytes != 0 || e.life.Offset >= poolBytes {
		return extra{}, fmt.Errorf("listener's word at %#x is no word of its pool: %w", e.life.Offset, fabric.ErrWrongPool)
	}
	e.identity, err = parseIdentity(b[:identityBytes])
	return e, err
}

// identity tells a file of a running kernel from every other.
type identity struct {
	boot          [16]byte
	device, inode uint64
}

const identityBytes = 32

func (id identity) encode() []byte {
	b := append([]byte(nil), id.boot[:]...)
	b = binary.LittleEndian.AppendUint64(b, id.device)
	return binary.LittleEndian.AppendUint64(b, id.inode)
}

func parseIdentity(b []byte) (identity, error) {
	if len(b) != identityBytes {
		return identity{}, fmt.Errorf("listener names its file in %d bytes, want %d: %w", len(b), identityBytes, fabric.ErrWrongPool)
	}
	return identity{boot: [16]byte(b), device: binary.LittleEndian.Uint64(b[16:]), inode: binary.LittleEndian.Uint64(b[24:])}, nil
}

func identityOf(info os.FileInfo) (identity, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, errors.New("no device and inode number for the pool file on this system")
	}
	boot, err := bootID()
	if info.Mode()&os.ModeCharDevice != 0 { // a device-dax may have several names
		return identity{boot: boot, device: stat.Rdev}, err
	}
	return identity{boot: boot, device: stat.Dev, inode: stat.Ino}, err
}

// bootID is what the kernel drew when it started.
var bootID = sync.OnceValues(func() (id [16]byte, err error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id, fmt.Errorf("read this kernel's boot id: %w", err)
	}
	digits := strings.ReplaceAll(strings.TrimSpace(string(raw)), "-", "")
	if len(digits) != hex.EncodedLen(len(id)) {
		return id, fmt.Errorf("this kernel's boot id is %q", digits)
	}
	_, err = hex.Decode(id[:], []byte(digits))
	return id, err
})

// mapping is one mapping of a pool file, shared by all queue pairs of this process that want the same
// access to the same file: mapping a file twice would cost its page tables and faults twice.
type mapping struct {
	key   mappingKey
	mem   []byte
	words words
	users int // guarded by mappings.mu
}

type mappingKey struct {
	file     identity
	bytes    uint64
	writable bool
	sync     bool
}

var mappings = struct {
	sync.Mutex
	open map[mappingKey]*mapping
}{open: make(map[mappingKey]*mapping)}

// acquire maps the file that the listener named in s.Path, if it is really that file.
func acquire(s fabric.Session, want identity, access fabric.Access) (*mapping, error) {
	flags := os.O_RDWR
	if access == fabric.ReadOnly {
		flags = os.O_RDONLY
	}
	file, err := os.OpenFile(s.Path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pool file that the DPM serves (with fabric shm both must see the same file; use tcp across machines): %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the pool file: %w", err)
	}
	have, err := identityOf(info)
	if err != nil {
		return nil, err
	}
	if have != want {
		return nil, fmt.Errorf("%s is not the file that the DPM serves, which is on another machine or mount (use fabric tcp): %w", s.Path, fabric.ErrWrongPool)
	}
	if info.Mode().IsRegular() && uint64(info.Size()) < s.PoolBytes {
		return nil, fmt.Errorf("%s has %d bytes, the pool %d: %w", s.Path, info.Size(), s.PoolBytes, fabric.ErrWrongPool)
	}
	key := mappingKey{file: have, bytes: s.PoolBytes, writable: access == fabric.ReadWrite, sync: s.Durability == pmem.DAX}
	mappings.Lock()
	defer mappings.Unlock()
	m := mappings.open[key]
	if m == nil {
		mem, err := mapFile(file, key)
		if err != nil {
			return nil, err
		}
		m = &mapping{key: key, mem: mem, words: wordsOf(mem)}
		mappings.open[key] = m
	}
	m.users++
	return m, nil
}

func mapFile(file *os.File, key mappingKey) ([]byte, error) {
	protection, flags := unix.PROT_READ, unix.MAP_SHARED
	if key.writable {
		protection |= unix.PROT_WRITE
		if key.sync {
			// Without MAP_SYNC the file system may still have to write where the blocks are, and a
			// cache-line write-back would not make a store durable.
			flags = unix.MAP_SHARED_VALIDATE | unix.MAP_SYNC
		}
	}
	mem, err := unix.Mmap(int(file.Fd()), 0, int(key.bytes), protection, flags)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of %s: %w", key.bytes, file.Name(), err)
	}
	return mem, nil
}

// release gives up one use of the mapping. No access to it may run then or later.
func (m *mapping) release() error {
	mappings.Lock()
	defer mappings.Unlock()
	m.users--
	if m.users > 0 {
		return nil
	}
	delete(mappings.open, m.key)
	return unix.Munmap(m.mem)
}
