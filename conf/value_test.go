package conf

import (
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestParseByteSize(t *testing.T) {
	for _, c := range []struct {
		text string
		bare ByteSize
		want ByteSize // -1: refused
	}{
		{"64", Byte, 64}, {"64", KiB, 64 * KiB}, {"64KiB", MiB, 64 * KiB}, {"1.5GiB", Byte, 3 * GiB / 2}, {" 8 MiB ", Byte, 8 * MiB},
		{"0", MiB, 0}, {"1kB", Byte, 1000}, {"2MB", Byte, 2_000_000}, {"1GB", Byte, 1_000_000_000}, {"1TB", Byte, 1e12}, {"2TiB", Byte, 2 * TiB},
		{"10B", MiB, 10}, {"0.5", MiB, MiB / 2}, {"9223372036854775807", Byte, 1<<63 - 1}, {".5KiB", Byte, 512},
		{"0.3KiB", Byte, -1}, {"0.1B", Byte, -1}, {"-1", Byte, -1}, {"-1.5KiB", Byte, -1}, {"9223372036854775808", Byte, -1}, {"8388608TiB", Byte, -1},
		{"", Byte, -1}, {"KiB", Byte, -1}, {"1K", Byte, -1}, {"1kib", Byte, -1}, {"1e3", Byte, -1}, {"0x10", Byte, -1}, {"1_000", Byte, -1},
		{"inf", Byte, -1}, {"nan", Byte, -1}, {"1.2.3", Byte, -1}, {".", Byte, -1}, {"1 2", Byte, -1}, {"9999999.5TiB", Byte, -1},
	} {
		got, err := ParseByteSize(c.text, c.bare)
		if c.want < 0 && err == nil || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("ParseByteSize(%q, %v) = %d, %v, want %d", c.text, c.bare, got, err, c.want)
		}
	}
}

func TestByteSizeTextsRoundTrip(t *testing.T) {
	r := random.New(random.Seed(t))
	for range 10_000 {
		s := ByteSize(r.Uint64()>>(1+r.IntN(63))) << r.IntN(8)
		if s < 0 {
			continue
		}
		got, err := ParseByteSize(s.String(), TiB)
		if err != nil || got != s {
			t.Fatalf("%d is written %v, which reads as %d, %v", int64(s), s, int64(got), err)
		}
	}
}

func TestDurationValue(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration // -1: refused
	}{
		{"10", 10 * time.Second}, {"10s", 10 * time.Second}, {"1.2ms", 1200 * time.Microsecond}, {"0.5", time.Second / 2},
		{"1m30s", 90 * time.Second}, {"24h", 24 * time.Hour}, {"1ms", time.Millisecond},
		{"0", -1}, {"999us", -1}, {"24h1s", -1}, {"-1s", -1}, {"1d", -1}, {"", -1}, {"1e9", -1}, {"99999999999999999999", -1}, {".", -1}, {"ten", -1},
	} {
		var d time.Duration
		err := durationValue(&d, time.Second, shortest, longest).set(c.text)
		if c.want < 0 && (err == nil || d != 0) || c.want >= 0 && (err != nil || d != c.want) {
			t.Errorf("%q gives %v, %v, want %v", c.text, d, err, c.want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ac", 1}, {"ac", "abc", 1},
		{"kitten", "sitting", 3}, {"flaw", "lawn", 2},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
