package lattice_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

func BenchmarkValidateLWW(b *testing.B) {
	payload := marshal(b, &messages.LWWValue{Timestamp: 1 << 60, Value: make([]byte, 1024)})
	b.ReportAllocs()
	for b.Loop() {
		if err := lattice.Validate(lattice.LWW, payload, lattice.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMergeSet(b *testing.B) {
	for _, n := range []int{10, 1000} {
		var values [][]byte
		for i := range n {
			values = append(values, []byte(fmt.Sprint("member", strings.Repeat("x", i%7), i)))
		}
		current, _, err := lattice.Merge(lattice.Set, nil, marshal(b, &messages.SetValue{Values: values}), lattice.Options{})
		if err != nil {
			b.Fatal(err)
		}
		incoming := marshal(b, &messages.SetValue{Values: [][]byte{[]byte("one more")}})
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, changed, err := lattice.Merge(lattice.Set, current, incoming, lattice.Options{}); err != nil || !changed {
					b.Fatal(changed, err)
				}
			}
		})
	}
}
