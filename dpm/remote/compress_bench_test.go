package remote

import (
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// sampleValues are values of length bytes as stores hold them: a JSON document, records of numbers, and bytes that
// were compressed or encrypted already.
func sampleValues(length int) map[string][]byte {
	rng := random.New(1)
	var document, records []byte
	for n := 0; len(document) < length; n++ {
		document = fmt.Appendf(document, `{"id":%d,"name":"customer %d","city":"%s","balance":%d.%02d,"active":%v},`,
			rng.IntN(1e6), rng.IntN(1e4), []string{"Berlin", "Austin", "Seoul", "Oslo"}[rng.IntN(4)], rng.IntN(1e5), rng.IntN(100), n%3 == 0)
	}
	for at := uint64(1_700_000_000_000); len(records) < length; at += rng.Uint64N(50) {
		records = append(records, byte(at), byte(at>>8), byte(at>>16), byte(at>>24), byte(at>>32), byte(at>>40), 0, 0, byte(rng.IntN(100)), 0, 0, 0)
	}
	noise := make([]byte, length)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	return map[string][]byte{"json": document[:length], "records": records[:length], "random": noise}
}

// BenchmarkCompression shows the ratio and the cost of both directions, by codec, kind of value and length. A ratio of 1
// is a value that was kept raw.
func BenchmarkCompression(b *testing.B) {
	for _, kind := range []Compression{CompressS2, CompressZstd} {
		for _, length := range []int{256, 1024, 4096, 65536} {
			for _, name := range []string{"json", "records", "random"} {
				v := sampleValues(length)[name]
				c, err := newCompressor(kind, 1)
				if err != nil {
					b.Fatal(err)
				}
				packed, codec := c.compress(v)
				e := format.Entry{Flags: codec, RawLength: uint32(len(v)), Value: append([]byte(nil), packed...)}
				ratio := float64(len(v)) / float64(len(e.Value))
				b.Run(fmt.Sprintf("pack/codec=%v/value=%s/bytes=%d", kind, name, length), func(b *testing.B) {
					b.SetBytes(int64(length))
					b.ReportAllocs()
					for b.Loop() {
						c.compress(v)
					}
					b.ReportMetric(ratio, "ratio")
				})
				if codec == format.CodecNone {
					continue // nothing to unpack
				}
				b.Run(fmt.Sprintf("unpack/codec=%v/value=%s/bytes=%d", kind, name, length), func(b *testing.B) {
					var d decompressor
					raw := make([]byte, length)
					b.SetBytes(int64(length))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := d.decompress(raw, &e); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(ratio, "ratio")
				})
			}
		}
	}
}

// Values that do not compress are stored as they are, and cost a reader nothing.
func TestIncompressibleValuesStayRaw(t *testing.T) {
	for _, kind := range []Compression{CompressS2, CompressZstd} {
		c, err := newCompressor(kind, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int{1, 100, 1000, 100_000} {
			values := sampleValues(length)
			if packed, codec := c.compress(values["random"]); codec != format.CodecNone || &packed[0] != &values["random"][0] {
				t.Errorf("%v: %d random bytes are stored in %d, codec %d", kind, length, len(packed), codec)
			}
			if packed, codec := c.compress(values["json"]); length >= 1000 && (codec == format.CodecNone || len(packed) >= length*3/4) {
				t.Errorf("%v: %d bytes of JSON are stored in %d, codec %d", kind, length, len(packed), codec)
			}
		}
	}
}
