package bench

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// maxSubscribers bounds who gets reports beside the configured addresses; the oldest makes way.
const maxSubscribers = 16

// mailer sends feedback and reports. It may be used from any goroutine. What nobody takes is dropped by its queues: reports
// are news, and the next one says more.
type mailer struct {
	peers    *runtime.Peers
	feedback []string // of the monitoring nodes
	reports  []string // configured, and the monitoring nodes' control sockets
	logf     func(string, ...any)

	mu struct {
		sync.Mutex
		subscribers []string
	}
}

func newMailer(o *Options) (*mailer, error) {
	m := &mailer{logf: o.Logf, reports: append([]string(nil), o.ReportTo...),
		peers: runtime.NewPeers(runtime.PeersOptions{MaxPeers: 256, QueueBytes: 16 << 20})}
	for _, ip := range o.Monitors {
		for socket, list := range map[messages.Socket]*[]string{messages.MonitorFeedback: &m.feedback, messages.MonitorControl: &m.reports} {
			a, err := o.Plan.Address(ip, socket, 0)
			if err != nil {
				return nil, fmt.Errorf("bench options: monitoring node: %w", err)
			}
			*list = append(*list, a.String())
		}
	}
	return m, nil
}

// subscribe adds an address that gets reports.
func (m *mailer) subscribe(address string) error {
	if _, err := messages.ParseAddress(address); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.mu.subscribers {
		if s == address { // to the end: the latest
			m.mu.subscribers = append(append(m.mu.subscribers[:i:i], m.mu.subscribers[i+1:]...), s)
			return nil
		}
	}
	m.mu.subscribers = append(m.mu.subscribers, strings.Clone(address))
	if extra := len(m.mu.subscribers) - maxSubscribers; extra > 0 {
		m.mu.subscribers = append([]string(nil), m.mu.subscribers[extra:]...)
	}
	return nil
}

// sendFeedback tells the monitoring nodes.
func (m *mailer) sendFeedback(f *messages.UserFeedback) { m.send(f, m.feedback) }

// sendReport tells everybody who wants reports.
func (m *mailer) sendReport(uid string, r *messages.BenchReport) {
	m.mu.Lock()
	to := append(m.mu.subscribers[:len(m.mu.subscribers):len(m.mu.subscribers)], m.reports...)
	m.mu.Unlock()
	m.send(messages.Envelope(uid, r), to)
}

func (m *mailer) send(msg messages.Message, to []string) {
	frame, err := messages.Marshal(msg)
	if err != nil {
		m.logf("report not sent: %v", err)
		return
	}
	for _, address := range to {
		push, err := m.peers.Get(address)
		if err == nil {
			err = push.Send(frame)
		}
		if err != nil {
			m.logf("report not sent: %v", err)
		}
	}
}

// feedbackOf turns a period into what the monitoring nodes expect. A period in which nothing ended counts as one latency of
// its whole length, as in the first Dinomo: a cluster that stands still must not look fast.
func feedbackOf(uid string, p Period) *messages.UserFeedback {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	f := &messages.UserFeedback{Uid: uid, KeyLatency: p.Hot}
	h := p.Latencies
	if h.Count() == 0 {
		h = latency.New()
		h.Record(time.Duration(p.Seconds * float64(time.Second)))
	} else {
		f.Throughput = float64(h.Count()) / p.Seconds
	}
	f.AvgLatency, f.MinLatency, f.MaxLatency = us(h.Mean()), us(h.Min()), us(h.Max())
	f.MedianLatency, f.TailLatency = us(h.Percentile(50)), us(h.Percentile(99))
	return f
}

// progressReport is what subscribers hear while a phase lasts.
func progressReport(uid string, p Progress, warmup bool) *messages.BenchReport {
	return &messages.BenchReport{Uid: uid, Phase: p.Command, Operations: p.Operations, Seconds: p.Elapsed.Seconds(), Warmup: warmup}
}

// refusalReport says that a line was not carried out.
func refusalReport(uid, line string, why error) *messages.BenchReport {
	const most = 256
	line = strings.ToValidUTF8(line[:min(len(line), most)], "?")
	return &messages.BenchReport{Uid: uid, Phase: line, Finish: true, Refusal: strings.ToValidUTF8(why.Error(), "?")}
}
