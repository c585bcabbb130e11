package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// stand is a node at work, with somebody who listens to it.
type stand struct {
	t        *testing.T
	cluster  *clienttest.Cluster
	node     *Node
	reports  *runtime.Pull
	feedback *runtime.Pull
	arrived  []*messages.BenchReport

	mu struct {
		sync.Mutex
		log strings.Builder
	}
}

// logf is the node's log.
func (s *stand) logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.mu.log, format+"\n", args...)
}

func (s *stand) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.log.String()
}

func listenPull(t *testing.T, address string) *runtime.Pull {
	t.Helper()
	p, err := runtime.ListenPull(address, runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// setUp starts a node on an address of its own, whose monitoring node is at monitor.
func setUp(t *testing.T, threads int, monitor string) *stand {
	cluster, o := rig(t, threads)
	s := &stand{t: t, cluster: cluster, reports: listenPull(t, "tcp://127.0.0.1:0")}
	at, err := messages.PlanDinomo.Address(monitor, messages.MonitorFeedback, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.feedback = listenPull(t, at.String())
	o.Monitors, o.ReportTo, o.QueuedCommands, o.Logf = []string{monitor}, []string{s.reports.Address()}, 1, s.logf
	if s.node, err = NewNode(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.node.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.node.Close()
	})
	return s
}

// send pushes a line to a thread, as a trigger does.
func (s *stand) send(thread int, line string) {
	s.t.Helper()
	push := runtime.NewPush(s.node.CommandAddress(thread), runtime.PushOptions{})
	defer push.Close(5 * time.Second)
	if err := push.Send([]byte(line)); err != nil {
		s.t.Fatal(err)
	}
}

// report waits for a report that fits.
func (s *stand) report(fits func(*messages.BenchReport) bool) *messages.BenchReport {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for i, r := range s.arrived {
			if fits(r) {
				s.arrived = append(s.arrived[:i:i], s.arrived[i+1:]...)
				return r
			}
		}
		select {
		case b := <-s.reports.Batches():
			for _, frame := range b.Frames {
				var e messages.ControlEnvelope
				if err := messages.Unmarshal(frame, &e); err != nil {
					s.t.Fatal(err)
				}
				s.arrived = append(s.arrived, e.GetBenchReport())
			}
			b.Release()
		case <-deadline:
			s.t.Fatal("no such report")
		}
	}
}

func (s *stand) finished(phase string) *messages.BenchReport {
	s.t.Helper()
	return s.report(func(r *messages.BenchReport) bool { return r.Finish && r.Phase == phase })
}

func TestNode(t *testing.T) {
	s := setUp(t, 2, "127.0.96.3")
	for thread := range 2 {
		s.send(thread, "LOAD:100:10:2:1")
	}
	var results []*Result
	for range 2 {
		r, err := ResultOf(s.finished("LOAD:100:10:2:1"))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	if all := Merge(results...); all.Operations != 100 || all.Writes.Count() != 100 || all.Threads != 2 || s.cluster.Keys() != 100 {
		t.Errorf("%+v", all.Summary())
	}
	for _, want := range []string{"thread 127.0.0.1:0 has done LOAD:100:10:2:1\n  50 operations", "thread 127.0.0.1:1 has done LOAD:100:10:2:1\n  50 operations"} {
		if !strings.Contains(s.log(), want) {
			t.Errorf("no %q in the log:\n%s", want, s.log())
		}
	}

	// Lines that are no commands are refused, and work goes on.
	s.send(0, "LOAD:many:10:1:1")
	s.send(0, "\xff\xfe"+strings.Repeat("x", 3000))
	s.send(0, "ADD:1")
	for _, want := range []string{"num_keys", "512", "management"} {
		r := s.report(func(r *messages.BenchReport) bool { return strings.Contains(r.Refusal, want) })
		if !r.Finish || r.Uid != "127.0.0.1:0" {
			t.Errorf("%v", r)
		}
	}

	// One command is at work, one waits, and a third is too many.
	long := "RUN:1:100:10:0.1:2:0:4"
	s.send(0, long)
	s.report(func(r *messages.BenchReport) bool { return r.Phase == long && !r.Finish })
	s.send(0, "RUN:1:100:10:0.1:0.1:0:4")
	s.send(0, "RUN:1:100:10:0.1:0.2:0:4")
	if r := s.report(func(r *messages.BenchReport) bool { return r.Refusal != "" }); !strings.Contains(r.Refusal, "busy") || r.Phase != "RUN:1:100:10:0.1:0.2:0:4" {
		t.Errorf("%v", r)
	}
	s.finished(long)
	s.finished("RUN:1:100:10:0.1:0.1:0:4")
	s.checkFeedback()
}

// checkFeedback looks at what the monitoring node was told.
func (s *stand) checkFeedback() {
	s.t.Helper()
	finishes, periods := map[string]int{}, 0
	deadline := time.After(20 * time.Second)
	for finishes["127.0.0.1:0"] < 2 {
		select {
		case b := <-s.feedback.Batches():
			for _, frame := range b.Frames {
				var f messages.UserFeedback
				if err := messages.Unmarshal(frame, &f); err != nil {
					s.t.Fatal(err)
				}
				switch {
				case f.Finish:
					finishes[f.Uid]++
				case f.Throughput == 0 && len(f.KeyLatency) == 0 && f.MinLatency > 0: // nothing ended meanwhile
				case f.Throughput <= 0 || f.MinLatency <= 0 || f.MinLatency > f.MedianLatency || f.MedianLatency > f.TailLatency ||
					f.TailLatency > f.MaxLatency || f.AvgLatency > f.MaxLatency || len(f.KeyLatency) == 0 || f.Uid != "127.0.0.1:0":
					s.t.Errorf("feedback %v", &f)
				default:
					periods++
				}
			}
			b.Release()
		case <-deadline:
			s.t.Fatalf("feedback %v", finishes)
		}
	}
	if finishes["127.0.0.1:0:LOAD"] != 1 || finishes["127.0.0.1:1:LOAD"] != 1 || periods == 0 {
		s.t.Errorf("finishes %v, %d periods", finishes, periods)
	}
}

func TestFeedbackOfAStandstill(t *testing.T) {
	p := Period{Seconds: 2, Latencies: newResult("").Reads}
	f := feedbackOf("u", p)
	if f.Throughput != 0 || f.MedianLatency < 1.99e6 || f.AvgLatency < 1.99e6 {
		t.Errorf("%v", f)
	}
}

func TestControl(t *testing.T) {
	s := setUp(t, 1, "127.0.96.4")
	push := runtime.NewPush(s.node.ControlAddress(), runtime.PushOptions{})
	defer push.Close(0)
	mine := listenPull(t, "tcp://127.0.0.1:0")
	ask := func(topic, address string) {
		frame, err := messages.Marshal(messages.Envelope("test", &messages.StatusQuery{RequestId: "7", Topic: topic, ResponseAddress: address}))
		if err != nil {
			t.Fatal(err)
		}
		if err := push.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := push.Send([]byte("\x01garbage")); err != nil {
		t.Fatal(err)
	}
	ask("reports", "tcp://nowhere:1")
	ask("reports", mine.Address())
	await := func(fits func(*messages.ControlEnvelope) bool) {
		t.Helper()
		for {
			select {
			case b := <-mine.Batches():
				found := false
				for _, frame := range b.Frames {
					var e messages.ControlEnvelope
					if err := messages.Unmarshal(frame, &e); err != nil {
						t.Fatal(err)
					}
					found = found || fits(&e)
				}
				b.Release()
				if found {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatal("nothing came")
			}
		}
	}
	await(func(e *messages.ControlEnvelope) bool {
		return e.GetStatusReport().GetRequestId() == "7" && e.GetStatusReport().GetCounters()["threads"] == 1
	})
	s.send(0, "LOAD:10:1:1:1")
	await(func(e *messages.ControlEnvelope) bool { return e.GetBenchReport().GetFinish() })
	for i := range 2 * maxSubscribers {
		if err := s.node.mailer.subscribe(fmt.Sprintf("tcp://127.0.0.1:%d", 1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	s.node.mailer.mu.Lock()
	defer s.node.mailer.mu.Unlock()
	if n := len(s.node.mailer.mu.subscribers); n != maxSubscribers {
		t.Errorf("%d subscribers", n)
	}
}

func TestOccupiedPort(t *testing.T) {
	_, o := rig(t, 1)
	o.AnyPort, o.IP = false, "127.0.96.5"
	first, err := NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.CommandAddress(0) != "tcp://127.0.96.5:8000" || first.ControlAddress() != "tcp://127.0.96.5:9000" {
		t.Errorf("listens at %s and %s", first.CommandAddress(0), first.ControlAddress())
	}
	if second, err := NewNode(o); err == nil {
		second.Close()
		t.Error("two nodes on one address")
	}
	for _, bad := range []func(*Options){
		func(o *Options) { o.Threads = 1000 }, func(o *Options) { o.NodeIndex = 1 }, func(o *Options) { o.Monitors = []string{"x"} },
		func(o *Options) { o.ReportTo = []string{"x"} }, func(o *Options) { o.Client.Routing = nil },
	} {
		o := o
		o.AnyPort = true
		bad(&o)
		if n, err := NewNode(o); err == nil {
			n.Close()
			t.Errorf("accepted %+v", o)
		}
	}
}
