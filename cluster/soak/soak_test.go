package soak

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const smaps = `00400000-01a4d000 r-xp 00000000 fe:00 1234                               /opt/a program/dinomo
Size:              22836 kB
Rss:               11000 kB
Pss:                2000 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Rss:               30000 kB
7f0000000000-7f0040000000 rw-s 00000000 00:2b 77                         /data/pool
Rss:              500000 kB
7ffe0000-7fff0000 rw-p 00000000 00:00 0                                  [stack]
Rss:                  24 kB
VmFlags: rd wr mr
`

func TestSmapsAddUp(t *testing.T) {
	m, err := parseSmaps(strings.NewReader(smaps), "/data/pool")
	if err != nil || m != (Memory{Own: 41024 << 10, Pool: 500000 << 10, Shared: 11000 << 10}) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"", strings.Replace(smaps, "500000", "five", 1)} {
		if m, err := parseSmaps(strings.NewReader(bad), "/data/pool"); err == nil {
			t.Errorf("%.20q gives %+v", bad, m)
		}
	}
}

// FuzzSmaps: no part of a process's memory is counted twice.
func FuzzSmaps(f *testing.F) {
	f.Add(smaps, "/data/pool")
	f.Add("Rss: -1 kB\n", "")
	f.Fuzz(func(t *testing.T, text, pool string) {
		m, err := parseSmaps(strings.NewReader(text), pool)
		if err == nil && (m.Own < 0 || m.Pool < 0 || m.Shared < 0 || m.Shared > m.Own) {
			t.Errorf("%+v", m)
		}
	})
}

// TestOwnMemoryIsSeen: the pages of a mapped file are told from the process's own.
func TestOwnMemoryIsSeen(t *testing.T) {
	const bytes = 8 << 20
	path := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(path, make([]byte, bytes), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped := touched(t, int(f.Fd()), bytes, unix.MAP_SHARED)
	own := touched(t, -1, bytes, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	m, err := ReadMemory(os.Getpid(), path)
	if err != nil || m.Pool != int64(len(mapped)) || m.Own < int64(len(own)) || m.Shared >= m.Own {
		t.Errorf("%+v, %v; the file's %d bytes are mapped, and %d others", m, err, len(mapped), len(own))
	}
	if _, err := ReadMemory(1<<30, path); err == nil {
		t.Error("a process that is not there has memory")
	}
}

func touched(t *testing.T, fd, bytes, flags int) []byte {
	t.Helper()
	b, err := unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}

func samplesOf(mib ...int64) (all []Sample) {
	for i, m := range mib {
		all = append(all, Sample{Seconds: float64(i), Memory: Memory{Own: m << 20}})
	}
	return all
}

func TestJudgement(t *testing.T) {
	o := Options{Processes: []Process{{"kn0", 1}, {"kn1", 2}}, CacheBytes: 8 << 20, Threads: 2}
	allowed := int64(8 + (NodeBytes+2*ThreadBytes)>>20)
	r := judge(&o, [][]Sample{samplesOf(10, 20, 20, 20, 20, 20, 20, 20, 20, 30), samplesOf(10, allowed, 10)})
	if err := r.Check(); err != nil {
		t.Errorf("what is allowed is refused: %v", err)
	}
	if u := r.Processes[0]; u.MaxBytes != 30<<20 || u.EarlyBytes != 20<<20 || u.LateBytes != 30<<20 {
		t.Errorf("%+v", u)
	}
	r = judge(&o, [][]Sample{samplesOf(10), samplesOf(10, allowed+1, 10)})
	if err := r.Check(); !errors.Is(err, ErrExceeded) || !strings.Contains(err.Error(), "kn1") || strings.Contains(err.Error(), "kn0") {
		t.Errorf("a peak above what is allowed: %v", err)
	}
	if err := judge(&o, [][]Sample{samplesOf(1), nil}).Check(); err == nil || errors.Is(err, ErrExceeded) {
		t.Errorf("a process of which nothing was seen: %v", err)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "within") {
		t.Errorf("%v\n%s", err, &text)
	}
}

func TestWatch(t *testing.T) {
	w := Begin(Options{Processes: []Process{{"me", os.Getpid()}}, Threads: 64, Every: time.Millisecond})
	r, err := w.End()
	if err != nil || r.Check() != nil || r.Processes[0].MaxBytes < 1<<20 {
		t.Errorf("%+v, %v, %v", r, err, r.Check())
	}
	w = Begin(Options{Processes: []Process{{"nobody", 1 << 30}}})
	if r, err := w.End(); err == nil || r.Check() == nil {
		t.Error("a process that is not there was watched")
	}
}
