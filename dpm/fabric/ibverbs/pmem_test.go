//go:build rdma && rdmatest && linux && cgo

package ibverbs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/shm"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// The guest of these tests has two NVDIMMs: one holds an ext4 file system, mounted with -o dax, the other is a
// device-dax. Each case writes numbered entries with WRITE and FLUSH, of which those that were acknowledged
// must be there after the DPM was killed (stage 1), and after a hard reset of the machine (stage 2).
type persistentCase struct {
	name, backend, path string
	persist             Persist
	first               uint64 // of the pool's bytes: cases may share a device
}

var persistentCases = []persistentCase{
	{"file by tcp", "tcp", "/pmem/pool-tcp", ByProcessor, 0},
	{"file by shm", "shm", "/pmem/pool-shm", ByProcessor, 0},
	{"device by rdma_cm, flushed by the processor", "cm", "/dev/dax1.0", ByProcessor, 0},
	{"device by rdma_cm, flushed by a READ", "cm", "/dev/dax1.0", ByRead, 256 << 10},
	{"device by socket", "socket", "/dev/dax1.0", ByProcessor, 512 << 10},
}

const (
	entryBytes = 64
	maxEntries = 256 << 10 / entryBytes
)

func entry(c int, number uint64) []byte {
	b := make([]byte, 0, entryBytes)
	for word := range uint64(entryBytes / 8) {
		b = binary.LittleEndian.AppendUint64(b, uint64(c+1)<<56|number<<8|word)
	}
	return b
}

func (p persistentCase) dial(t *testing.T, address string) fabric.QP {
	t.Helper()
	var dialer fabric.Dialer = Dialer{testOptions(Setup(p.backend))}
	switch p.backend {
	case "tcp":
		dialer = tcp.Dialer{}
	case "shm":
		dialer = shm.Dialer{}
	}
	qp, err := dialer.Dial(context.Background(), address, fabric.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qp.Close() })
	if d := qp.Session().Durability; d != pmem.DAX {
		t.Fatalf("durability %s", d)
	}
	return qp
}

// write acknowledges entries from number first on until stop says so or the queue pair breaks.
func (p persistentCase) write(t *testing.T, c int, qp fabric.QP, first uint64, stop func(acked uint64) bool) (acked uint64) {
	t.Helper()
	for acked = first; acked < maxEntries && !stop(acked); acked++ {
		at := p.first + acked*entryBytes
		err := qp.Post([]fabric.Verb{
			{Kind: fabric.Write, Address: at, Buffer: entry(c, acked)},
			{Kind: fabric.Flush, Address: at, Length: entryBytes},
		})
		if errors.Is(err, fabric.ErrBroken) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return acked
}

// check wants the first acked entries in the pool.
func (p persistentCase) check(t *testing.T, c int, acked uint64) {
	t.Helper()
	region, err := pmem.Open(pmem.Options{Path: p.path, Durability: pmem.DAX})
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	for number := range acked {
		if got := string(region.View(p.first+number*entryBytes, entryBytes)); got != string(entry(c, number)) {
			t.Fatalf("entry %d of %d acknowledged ones is % x", number, acked, got)
		}
	}
}

// TestPersistentMemory is run by test-rdma.sh pmem, once before and once after the reset.
func TestPersistentMemory(t *testing.T) {
	switch os.Getenv("STAGE") {
	case "1":
		if err := pmem.HaveDAX("/pmem"); err != nil {
			t.Fatal(err)
		}
		var acked []string
		var busy []func()
		for c, p := range persistentCases {
			n, goOn := p.beforeReset(t, c)
			acked, busy = append(acked, strconv.FormatUint(n, 10)), append(busy, goOn)
		}
		for _, goOn := range busy {
			go goOn()
		}
		if t.Failed() {
			return
		}
		fmt.Printf("ACKED=%s\n", strings.Join(acked, ","))
		_ = os.Stdout.Sync()
		if err := os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0); err != nil { // at once: no sync, no unmount
			t.Fatal(err)
		}
		select {}
	case "2":
		for c, acked := range strings.Split(os.Getenv("ACKED"), ",") {
			p := persistentCases[c]
			t.Run(p.name, func(t *testing.T) {
				n, err := strconv.ParseUint(acked, 10, 64)
				if err != nil || n == 0 {
					t.Fatalf("ACKED: %q", acked)
				}
				p.check(t, c, n)
			})
		}
	default:
		t.Skip("part of test-rdma.sh pmem")
	}
}

// beforeReset kills the DPM under a writer, checks what was acknowledged, and writes some more with another DPM. It
// returns how many entries were acknowledged, and what goes on writing until the machine is reset.
func (p persistentCase) beforeReset(t *testing.T, c int) (acked uint64, goOn func()) {
	address := netip.AddrPortFrom(DeviceAddress(t), 0).String()
	server, at := startServer(t, p.backend, address, p.path, p.persist)
	acked = p.write(t, c, p.dial(t, at), 0, func(acked uint64) bool {
		if acked == 200 {
			go server.Process.Kill() // in the middle of whatever comes next
		}
		return false
	})
	_ = server.Wait()
	if acked < 200 {
		t.Fatalf("%s: only %d entries were acknowledged", p.name, acked)
	}
	p.check(t, c, acked)
	server, at = startServer(t, p.backend, address, p.path, p.persist)
	qp := p.dial(t, at)
	first := acked
	acked = p.write(t, c, qp, acked, func(n uint64) bool { return n == first+200 })
	if c+1 < len(persistentCases) && persistentCases[c+1].path == p.path {
		kill(t, server) // a device is one DPM's at a time, and the next case needs it
	}
	return acked, func() { p.write(t, c, qp, acked, func(uint64) bool { return false }) }
}

// TestFileCannotBeRegistered pins down why a pool for RDMA lies on a device: the kernel refuses to
// pin files of a dax file system. Should it pass one day, docs/rdma.md can say so.
func TestFileCannotBeRegistered(t *testing.T) {
	if os.Getenv("STAGE") != "2" {
		t.Skip("part of test-rdma.sh pmem")
	}
	region, err := pmem.Create(poolBytes, pmem.Options{Path: "/pmem/file", Durability: pmem.DAX})
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	lo := fabric.ListenOptions{Address: netip.AddrPortFrom(DeviceAddress(t), 0).String()}
	l, err := Listen(region, host{}, lo, testOptions(RDMACM))
	if err == nil {
		_ = l.Close()
		t.Error("a file with dax can be registered now")
	} else {
		t.Log(err)
	}
}
