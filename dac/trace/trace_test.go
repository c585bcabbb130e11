package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// list renders a source's operations, one a line.
func list(src Source) (string, error) { return listAs(src, "%c %s %d\n") }

func listAs(src Source, format string) (string, error) {
	var b strings.Builder
	var op Op
	for {
		switch err := src.Next(&op); {
		case err == io.EOF:
			return b.String(), nil
		case err != nil:
			return b.String(), err
		}
		fmt.Fprintf(&b, format, "GUD"[op.Kind], op.Key, op.ValueBytes)
	}
}

const ours = "# a comment\nG a 10\r\n\nU some-key 65536\nG a\nD a\nG last 0"

const oursListed = "G a 10\nU some-key 65536\nG a -1\nD a -1\nG last 0\n"

const twitter = `0,yDqF:3q:1AJrrJ1nnCJKKrnGx1A,27,0,5,get,0
0,with,a,comma,12,1234,5,set,86400
1,k,1,77,9,delete,0
2,k,1,77,9,gets,0
`

const twitterListed = "G yDqF:3q:1AJrrJ1nnCJKKrnGx1A 0\nU with,a,comma 1234\nD k 77\nG k 77\n"

func TestReaderKnowsBothFormats(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"ours", ours, oursListed}, {"twitter", twitter, twitterListed}, {"empty", "", ""}, {"blank", "\n\n", ""},
	} {
		for _, compressed := range []bool{false, true} {
			in := []byte(c.in)
			if compressed {
				w, _ := zstd.NewWriter(nil)
				in = w.EncodeAll(in, nil)
			}
			src, err := NewReader(bytes.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := list(src); got != c.want || err != nil {
				t.Errorf("%s, compressed %v: got %q, %v; want %q", c.name, compressed, got, err, c.want)
			}
			src.Close()
		}
	}
}

func TestBadLinesAreNamed(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"G a\nX b\n", `line 2: operation "X": want G, U or D`},
		{"G\n", "line 1: key of 0 bytes: want 1 to 65535"},
		{"G a -5\n", `line 1: value size "-5": want 0 to 1073741824`},
		{"U a 1073741825\n", `line 1: value size "1073741825": want 0 to 1073741824`},
		{"G " + strings.Repeat("k", MaxKey+1) + "\n", "line 1: key of 65536 bytes"},
		{"G a\n" + strings.Repeat("k", MaxLine+1) + "\n", "line 2: bufio: buffer full (a line has at most 131072 bytes)"},
		{twitter + "3,k,1,77,9,touch,0\n", `line 5: operation "touch": want get`},
		{twitter + "3,k\n", "line 5: want timestamp,key,key size,value size,client,operation,TTL"},
		{"\x28\xb5\x2f\xfdnonsense", "malformed trace"},
	} {
		src, err := NewReader(strings.NewReader(c.in))
		if err == nil {
			_, err = list(src)
			src.Close()
		}
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: error %v, want %q", c.in, err, c.want)
		}
	}
}

func TestOpenTellsLawsFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace.txt")
	if err := os.WriteFile(file, []byte(ours), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := list(src); got != oursListed || err != nil {
		t.Errorf("file: %q, %v", got, err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ name, want string }{
		{file + "x", "is no file, and no law"},
		{"zipf", "has 0 numbers, want 1"},
		{"zipf:-1", "theta -1: want 0 to 100"},
		{"zipf:0.9,keys=0", "0 keys: want 1 to"},
		{"zipf:0.9,colour=red", `unknown parameter "colour"`},
		{"uniform:3", "has 1 numbers, want 0"},
		{"shift:0.9,0", "period: want 1"},
		{"scan:0.9,2,5", "scan of share 2"},
		{"zipf:1,values=9-3", "values of 9 to 3 bytes"},
		{"zipf:1,updates=NaN", "share of updates NaN"},
		{"drift:1,1e300", "period: want 1"},
	} {
		if _, err := Open(c.name); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// The same name yields the same operations, and different seeds different ones.
func TestLawsRepeat(t *testing.T) {
	for _, name := range []string{"zipf:0.99", "uniform", "shift:0.9,100", "scan:0.9,0.5,20", "drift:0.9,500"} {
		var got [3]string
		for i, seed := range []int{1, 1, 2} {
			sep := ","
			if name == "uniform" {
				sep = ":"
			}
			src, err := Open(fmt.Sprintf("%s%skeys=50,ops=1000,updates=0.1,values=10-1000,seed=%d", name, sep, seed))
			if err != nil {
				t.Fatal(err)
			}
			if got[i], err = listAs(src, "%c %x %d\n"); err != nil {
				t.Fatal(err)
			}
		}
		if got[0] != got[1] || got[0] == got[2] {
			t.Errorf("%s: same seed equal %v, other seed equal %v", name, got[0] == got[1], got[0] == got[2])
		}
		if n := strings.Count(got[0], "\n"); n != 1000 {
			t.Errorf("%s: %d operations", name, n)
		}
		if u := strings.Count(got[0], "U "); u < 50 || u > 160 {
			t.Errorf("%s: %d updates of 1000, want some 100", name, u)
		}
	}
}

// counts returns how often each key occurs in operations [from, to).
func counts(t *testing.T, name string, from, to int) map[string]int {
	src, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	var op Op
	for i := range to {
		if err := src.Next(&op); err != nil {
			t.Fatal(err)
		}
		if i >= from {
			n[string(op.Key)]++
		}
	}
	return n
}

func hottest(n map[string]int) (key string) {
	for k, c := range n {
		if c > n[key] || c == n[key] && k < key {
			key = k
		}
	}
	return key
}

func TestShiftMovesPopularity(t *testing.T) {
	const name = "shift:1.2,5000,keys=10000,seed=3"
	a, again, b := hottest(counts(t, name, 0, 2500)), hottest(counts(t, name, 2500, 5000)), hottest(counts(t, name, 5000, 7500))
	if a != again || a == b {
		t.Errorf("hottest keys of two halves of a period equal: %v (want true), of two periods: %v (want false)", a == again, a == b)
	}
}

func TestDriftSwingsBack(t *testing.T) {
	const name = "drift:1.2,20000,keys=10000,seed=3"
	noon, midnight, next := hottest(counts(t, name, 0, 2000)), hottest(counts(t, name, 9000, 11000)), hottest(counts(t, name, 19000, 21000))
	if noon == midnight || noon != next {
		t.Errorf("noon equals midnight: %v (want false), equals next noon: %v (want true)", noon == midnight, noon == next)
	}
}

func TestScanWalksInOrder(t *testing.T) {
	n := counts(t, "scan:1,1,1000,keys=100000,seed=3", 0, 1000)
	if len(n) != 1000 {
		t.Errorf("a scan of 1000 touches %d keys", len(n))
	}
}

func TestPopularitySumsToOne(t *testing.T) {
	law, ok, err := ParseLaw("zipf:0.8,keys=1000")
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	sum, last, keys := 0.0, 1.0, map[uint64]bool{}
	for key, share := range law.Popularity {
		if share > last {
			t.Fatal("popularity rises")
		}
		sum, last = sum+share, share
		keys[key] = true
	}
	if sum < 0.999999 || sum > 1.000001 || len(keys) != 1000 {
		t.Errorf("shares of %d keys sum to %v", len(keys), sum)
	}
}

// FuzzReader feeds arbitrary bytes as a trace file: no crash, bounded operations, and every
// operation within the limits.
func FuzzReader(f *testing.F) {
	w, _ := zstd.NewWriter(nil)
	for _, s := range []string{ours, twitter, "G a 1\nX", "0,,,,,,", ",,,,,,get,", "G  5\n", "\x28\xb5\x2f\xfd"} {
		f.Add([]byte(s))
		f.Add(w.EncodeAll([]byte(s), nil))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src, err := NewReader(bytes.NewReader(in))
		if err != nil {
			return
		}
		defer src.Close()
		var op Op
		for range 100_000 {
			if err := src.Next(&op); err != nil {
				return
			}
			if len(op.Key) == 0 || len(op.Key) > MaxKey || op.ValueBytes < NoSize || op.ValueBytes > MaxValue || op.Kind > Delete {
				t.Fatalf("operation %+v", op)
			}
		}
	})
}

// FuzzLaw feeds arbitrary names: an accepted law yields an operation.
func FuzzLaw(f *testing.F) {
	for _, s := range []string{"zipf:0.99", "uniform", "uniform,keys=5", "shift:1,5", "scan:1,0.5,9,values=3-9", "drift:0.3,77,updates=1,seed=9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		law, ok, err := ParseLaw(name)
		if !ok || err != nil {
			return
		}
		src, err := newSynthetic(law)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		var op Op
		if err := src.Next(&op); err != nil || op.ValueBytes < NoSize || op.ValueBytes > MaxValue {
			t.Fatalf("%q: %+v, %v", name, op, err)
		}
	})
}
