package ibverbs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
)

var (
	someRecord = record{version: wire.Version, thread: 2, rank: 3, incarnation: 4, pool: fabric.PoolID{5, 6}}
	someLink   = link{qpn: 0x112233, psn: 0x445566, lid: 7, gid: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}, hasGID: true, mtu: 5, reads: 16}
)

func defaultOptions() *Options {
	var o Options
	o.EnsureDefaults()
	return &o
}

func TestRecordGolden(t *testing.T) {
	got := hex.EncodeToString(someLink.append(someRecord.append(nil)))
	want := "444e4d52 0100 0200 03000000 04000000 05060000000000000000000000000000" +
		"33221100 66554400 0700 0000 00000000000000000000ffff0a000001 05 10 01 00"
	if got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("record: %s", got)
	}
}

func TestRecords(t *testing.T) {
	b := someRecord.append(nil)
	if r, err := parseRecord(append(b, make([]byte, 24)...)); err != nil || r != someRecord { // as rdma_cm pads it
		t.Errorf("%+v, %v", r, err)
	}
	if len(b) != recordBytes || recordBytes > 56 {
		t.Errorf("a record has %d bytes, rdma_cm carries 56", len(b))
	}
	if h := someRecord.hello(); h.Rank != 3 || h.Incarnation != 4 || h.Thread != 2 || defaultOptions().record(h) != someRecord {
		t.Errorf("as a hello: %+v", h)
	}
	other := someRecord
	other.version = 99
	for _, n := range []int{recordPrefix, recordBytes} { // whatever that version's length
		if _, err := parseRecord(other.append(nil)[:n]); !errors.Is(err, fabric.ErrWrongPool) {
			t.Errorf("another version in %d bytes: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{"short": b[:31], "foreign": append([]byte("HTTP"), b[4:]...), "nothing": nil} {
		if _, err := parseRecord(bad); !errors.Is(err, errBadRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerdicts(t *testing.T) {
	if err := parseVerdict(appendVerdict(nil, nil)); err != nil {
		t.Errorf("OK comes back as %v", err)
	}
	for _, sentinel := range []error{fabric.ErrRefused, fabric.ErrFenced, fabric.ErrWrongPool} {
		b := appendVerdict(nil, fmt.Errorf("because %s: %w", strings.Repeat("x", 300), sentinel))
		if err := parseVerdict(b); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), "because xxx") || len(b) > maxVerdictBytes {
			t.Errorf("%v comes back as %v in %d bytes", sentinel, err, len(b))
		}
	}
	// The longest text that a byte can announce, and one that is cut off.
	longest := append([]byte{appendVerdict(nil, fabric.ErrFenced)[0], 255}, strings.Repeat("x", 255)...)
	if err := readVerdict(bytes.NewReader(longest)); !errors.Is(err, fabric.ErrFenced) || !strings.Contains(err.Error(), strings.Repeat("x", 255)) {
		t.Errorf("a verdict of %d bytes comes back as %v", len(longest), err)
	}
	if err := readVerdict(bytes.NewReader(longest[:100])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a verdict: %v", err)
	}
	for _, b := range [][]byte{nil, {1}, {1, 2, 'x'}, []byte("D\x01x")} {
		if err := parseVerdict(b); !errors.Is(err, errBadRecord) {
			t.Errorf("% x: %v", b, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(someRecord.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRecord(b); err == nil && !bytes.Equal(r.append(nil), b[:recordBytes]) {
			t.Fatalf("% x is decoded as %+v", b, r)
		}
	})
}

func FuzzLink(f *testing.F) {
	f.Add(someLink.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLink(b); err == nil && !bytes.Equal(l.append(nil), b) {
			t.Fatalf("% x is decoded as %+v", b, l)
		}
	})
}

func FuzzGrant(f *testing.F) {
	f.Add(grant{base: 1 << 40, rkey: 77, persist: ByRead}.encode())
	f.Add(grant{persist: ByProcessor}.encode())
	f.Add(make([]byte, grantBytes+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseGrant(b); err == nil && !bytes.Equal(g.encode(), b) || err != nil && !errors.Is(err, wire.ErrBadFrame) {
			t.Fatalf("% x is decoded as %+v, %v", b, g, err)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add(appendVerdict(nil, fabric.ErrFenced))
	f.Add([]byte{byte(wire.OK), 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, read := parseVerdict(b), readVerdict(bytes.NewReader(b))
		if (parsed == nil) != (read == nil) {
			t.Fatalf("% x: parsed %v, read %v", b, parsed, read)
		}
	})
}

func TestOptions(t *testing.T) {
	var o Options
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for name, change := range map[string]func(o *Options){
		"setup":       func(o *Options) { o.Setup = "pigeon" },
		"device":      func(o *Options) { o.Device = "../rxe0" },
		"cm":          func(o *Options) { o.GID = 3 },
		"port":        func(o *Options) { o.Port = 256 },
		"gid":         func(o *Options) { o.Setup, o.GID = Socket, -1 },
		"retries":     func(o *Options) { o.Retries = 7 },
		"ack-timeout": func(o *Options) { o.AckTimeout = 32 },
		"polls":       func(o *Options) { o.Polls = -1 },
		"persist":     func(o *Options) { o.Persist = "hope" },
	} {
		bad := o
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
