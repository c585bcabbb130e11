package latency

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// MinValue is the resolution at the low end.
	MinValue = 64 * time.Nanosecond
	// MaxValue is the longest time told from longer ones.
	MaxValue = 5 * time.Minute
	digits   = 3
)

// ErrMalformed means that bytes are no histogram of this package. Decode wraps it.
var ErrMalformed = errors.New("malformed latency histogram")

// maxEncodedBytes bounds what Decode looks at. A full histogram of ours encodes to about 80 KiB.
const maxEncodedBytes = 1 << 20

// Histogram counts durations. Make it with New; it costs about 200 KiB.
type Histogram struct{ hdr *hdrhistogram.Histogram }

// New returns an empty histogram.
func New() *Histogram {
	return &Histogram{hdrhistogram.New(int64(MinValue), int64(MaxValue), digits)}
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	// In range, so RecordValue cannot fail.
	_ = h.hdr.RecordValue(int64(min(max(d, 0), MaxValue)))
}

// Count returns how many durations there are.
func (h *Histogram) Count() uint64 { return uint64(h.hdr.TotalCount()) }

// Reset forgets them.
func (h *Histogram) Reset() { h.hdr.Reset() }

// Merge adds what other counted.
func (h *Histogram) Merge(other *Histogram) { h.hdr.Merge(other.hdr) }

// Mean returns the mean, 0 when empty.
func (h *Histogram) Mean() time.Duration { return time.Duration(h.hdr.Mean()) }

// Min returns the smallest duration, 0 when empty.
func (h *Histogram) Min() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.hdr.Min())
}

// Max returns the largest duration, 0 when empty.
func (h *Histogram) Max() time.Duration { return time.Duration(h.hdr.Max()) }

// Percentile returns the duration that p percent do not exceed.
func (h *Histogram) Percentile(p float64) time.Duration {
	return time.Duration(h.hdr.ValueAtPercentile(p))
}

// Encode returns the histogram in HDR's V2 compressed encoding, in nanoseconds.
func (h *Histogram) Encode() ([]byte, error) {
	b, err := h.hdr.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("encode a latency histogram: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote. Empty input is an empty histogram. A histogram of other bounds is taken too, as far as
// its values fit ours.
func Decode(b []byte) (*Histogram, error) {
	h := New()
	if len(b) == 0 {
		return h, nil
	}
	if len(b) > maxEncodedBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMalformed, len(b), maxEncodedBytes)
	}
	other, err := hdrhistogram.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if dropped := h.hdr.Merge(other); dropped > 0 {
		return nil, fmt.Errorf("%w: %d values beyond %v", ErrMalformed, dropped, MaxValue)
	}
	return h, nil
}

// Summary is a histogram's figures in microseconds, under the names that reports use.
type Summary struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Summary returns the figures; all 0 when empty.
func (h *Histogram) Summary() Summary {
	if h.Count() == 0 {
		return Summary{}
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return Summary{
		Mean: us(h.Mean()), P50: us(h.Percentile(50)), P99: us(h.Percentile(99)), P999: us(h.Percentile(99.9)), Max: us(h.Max()),
	}
}
