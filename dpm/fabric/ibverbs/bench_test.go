//go:build rdma && rdmatest && linux && cgo

package ibverbs_test

import (
	"context"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
	"github.com/dinomo-kv/dinomo/dpm/fabric/bench"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
)

// TestBench: what `dinomo fabric bench` and `dinomo fabric probe` do works by RDMA, too. Under emulation its figures mean nothing.
func TestBench(t *testing.T) {
	ibverbs.DeviceAddress(t)
	for _, setup := range []ibverbs.Setup{ibverbs.RDMACM, ibverbs.Socket} {
		report, err := bench.Run(context.Background(), bench.Options{
			Backend: "ibverbs", Backends: backends.Options{IBVerbs: ibverbs.Options{Setup: setup, Polls: 20, AckTimeout: 16}},
			Sizes: []int{8, 4096}, QueuePairs: []int{2}, Batches: []int{1, 4}, Calls: true, Duration: 5 * time.Millisecond,
			Dial: fabric.DialOptions{DialTimeout: time.Minute, Timeout: time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s:\n%s", setup, report)
		if len(report.Results) == 0 {
			t.Error("nothing was measured")
		}
		for _, r := range report.Results {
			if r.Verb != "CALL" && r.DoorbellsPerPost != 1 {
				t.Errorf("%s of %d bytes, %d together: %g doorbells", r.Verb, r.Bytes, r.Batch, r.DoorbellsPerPost)
			}
		}
	}
	probe := bench.Probe(context.Background(), bench.ProbeOptions{})
	t.Logf("\n%s", probe)
	found := false
	for _, c := range probe.Checks {
		found = found || c.Subject == "ibverbs"
		if c.Subject == "ibverbs" && c.Verdict == bench.Bad {
			t.Errorf("probe: %s", c.Detail)
		}
	}
	if !found {
		t.Error("the probe says nothing of ibverbs")
	}
}
