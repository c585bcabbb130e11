package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes.
type ByteSize int64

// Units of sizes.
const (
	Byte ByteSize = 1
	KiB           = 1024 * Byte
	MiB           = 1024 * KiB
	GiB           = 1024 * MiB
	TiB           = 1024 * GiB
)

// sizeUnits holds the suffixes, longer ones before those they end in.
var sizeUnits = []struct {
	suffix string
	bytes  ByteSize
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
	{"B", Byte},
}

// String writes the size in the largest binary unit that divides it: 8MiB, 1536KiB, 1006B.
func (s ByteSize) String() string {
	if s == 0 {
		return "0B"
	}
	for _, u := range []struct {
		suffix string
		bytes  ByteSize
	}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} {
		if s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// ParseByteSize reads 64KiB, 1.5GiB, 10MB or 64; the last in units of bare. A size is a whole
// number of bytes and not negative.
func ParseByteSize(text string, bare ByteSize) (ByteSize, error) {
	number, unit := strings.TrimSpace(text), bare
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("size %.40q is out of range", text)
		}
		return ByteSize(n) * unit, nil
	}
	// A fraction: exact enough below 2^53 bytes, and no size here is larger.
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !plainNumber(number) {
		return 0, fmt.Errorf("size %.40q: want a number, with or without a unit such as KiB, MiB or GiB", text)
	}
	bytes := f * float64(unit)
	if bytes < 0 || bytes >= 1<<53 || bytes != math.Trunc(bytes) {
		return 0, fmt.Errorf("size %.40q is no whole number of bytes", text)
	}
	return ByteSize(bytes), nil
}

// plainNumber tells whether text is digits with a point at most: what ParseFloat also takes (1e3,
// 0x1p4, inf, 1_000) is more likely a slip of the pen.
func plainNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789.") == ""
}
