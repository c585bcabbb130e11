package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/dpmtest"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/messages"
)

// All subjects, as text and as JSON, while the pool is open and after.
func TestSubjects(t *testing.T) {
	r, th, want := filled(t)
	record, err := messages.Marshal(&messages.OwnershipMap{Epoch: 1, Members: []*messages.Member{{Rank: 1, PrivateIp: "127.0.0.100", Threads: 2, Incarnation: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pool.MetaCAS(ownershipRecord, 0, record); err != nil {
		t.Fatal(err)
	}
	r.Put(th, "fresh", "not merged when the pool closes, perhaps")
	for _, state := range []string{"live", "closed"} {
		if state == "closed" {
			if err := r.Pool.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(state, func(t *testing.T) { testSubjects(t, r, len(want)) })
	}
}

// shown returns the text of a subject, which must be there as JSON too.
func shown(t *testing.T, r *dpmtest.Rig, subject, entry string) string {
	t.Helper()
	var text, js bytes.Buffer
	for _, c := range []struct {
		json bool
		to   *bytes.Buffer
	}{{false, &text}, {true, &js}} {
		status, err := Run(t.Context(), Command{Path: r.Path, Subject: subject, Entry: entry, JSON: c.json}, c.to)
		if err != nil || status != StatusSound {
			t.Fatalf("%s %s: status %d, %v\n%s", subject, entry, status, err, c.to)
		}
	}
	var fields map[string]any
	if err := json.Unmarshal(js.Bytes(), &fields); err != nil || len(fields) == 0 {
		t.Fatalf("%s: JSON %q: %v", subject, js.String(), err)
	}
	return text.String()
}

func testSubjects(t *testing.T, r *dpmtest.Rig, keys int) {
	expect := func(subject, entry string, parts ...string) {
		t.Helper()
		text := shown(t, r, subject, entry)
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s %s lacks %q:\n%s", subject, entry, part, text)
			}
		}
	}
	expect("pool", "", "40 of 64 KiB", "ownership: epoch 1, 1 members", "127.0.0.100", "slots: struck out, sound", "1.1")
	expect("segments", "", "sealed", "index", "log", "40 segments of 64 KiB")
	expect("index", "", "buckets per lookup", "of these replicated 1")
	expect("entry", "a3", `"a3"`, "put at 0x", "live, merged", "30 30 30 30 30 30 30 33 2e")
	expect("entry", "b3", "codec zstd", "2000 bytes", "30 30 30 30 31 30 30 33 2e", "1744 bytes more")
	expect("entry", hotKey, "through indirect@0x", "replicated")
	expect("entry", "fresh", "74 20 6d 65 72 67 65 64")
	expect("verify", "", "sound: 0 damaged, 0 suspect")
	p, err := look.Open(look.Options{Path: r.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e, err := EntryOfKey(p, []byte("a3"))
	if err != nil {
		t.Fatal(err)
	}
	expect("entry", fmt.Sprintf("@%#x", e.Entry.Offset), `"a3"`, "live, merged")
	x, err := Index(t.Context(), p)
	if err != nil || x.Keys < uint64(keys) || x.Keys > uint64(keys)+1 {
		t.Errorf("%d keys, %v; want %d", x.Keys, err, keys)
	}
	for _, c := range []Command{{Subject: "entry"}, {Subject: "entry", Entry: "@x"}, {Subject: "soul"}} {
		c.Path = r.Path
		if status, err := Run(t.Context(), c, &bytes.Buffer{}); !errors.Is(err, ErrUsage) || status != StatusFailed {
			t.Errorf("%+v: %v, %v", c, status, err)
		}
	}
	for _, entry := range []string{"absent", "@0x3", "@1000000000000", fmt.Sprintf("@%d", e.Entry.Offset+8)} {
		if _, err := Run(t.Context(), Command{Path: r.Path, Subject: "entry", Entry: entry}, &bytes.Buffer{}); !errors.Is(err, ErrNoEntry) {
			t.Errorf("entry %s: %v", entry, err)
		}
	}
}

func TestVerifyCounts(t *testing.T) {
	r, _, want := filled(t)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	v := wantSound(t, r.Path)
	k := v.Checked
	if k.Keys != uint64(len(want)) || k.IndirectWords != 1 || k.Segments != 40 || k.MetadataRecords != 4 || k.Ranks != 8 || k.LatticeEntries != 20 {
		t.Errorf("%+v, want %d keys", k, len(want))
	}
	if k.Compressed < 180 || k.RawBytes < 2000*k.Compressed || k.StoredBytes*5 > k.RawBytes {
		t.Errorf("%d compressed values, %d bytes in %d", k.Compressed, k.RawBytes, k.StoredBytes)
	}
	if k.LogEntries < 540 || v.OpenBy != "" {
		t.Errorf("%d entries, open by %q", k.LogEntries, v.OpenBy)
	}
}

func TestVerifyRefuses(t *testing.T) {
	if _, err := Verify(t.Context(), t.TempDir()+"/absent", VerifyOptions{}); err == nil {
		t.Error("a pool that is not there was verified")
	}
	r, _, _ := filled(t)
	if err := r.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	p := openPatch(t, r.Path)
	undo := p.flip(16, 3)
	if v := verify(t, r.Path); v.Status() != StatusDamaged || v.Problems[0].Area != "superblock" {
		t.Errorf("damaged superblock: %+v", v)
	}
	undo()
	p.flip(0, 1)
	if _, err := Verify(t.Context(), r.Path, VerifyOptions{}); !errors.Is(err, format.ErrForeign) {
		t.Errorf("another magic: %v", err)
	}
}

// A damaged entry is not said to be missing, and the exit status tells.
func TestDamagedEntryIsNoMissingKey(t *testing.T) {
	r, _, _ := filled(t)
	p, err := look.Open(look.Options{Path: r.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e, err := EntryOfKey(p, []byte("a7"))
	if err != nil || e.Status() != StatusSound {
		t.Fatal(e, err)
	}
	openPatch(t, r.Path).flip((e.Entry.Offset+format.EntryHeaderBytes)&^7, 9) // in the key
	var text bytes.Buffer
	status, err := Run(t.Context(), Command{Path: r.Path, Subject: "entry", Entry: "a7"}, &text)
	if err != nil || status != StatusDamaged || !strings.Contains(text.String(), "DAMAGE") || strings.Contains(text.String(), "no such key") {
		t.Errorf("status %d, %v:\n%s", status, err, text.String())
	}
}
