package trigger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// learnThreads asks the nodes whose number of threads is not known, and subscribes to the reports of all it asks.
func (t *Trigger) learnThreads(ctx context.Context) error {
	if t.options.NoWait && t.options.Threads > 0 {
		for _, ip := range t.nodes {
			t.threads[ip] = t.options.Threads
		}
		return nil
	}
	unknown := map[string]bool{}
	for _, ip := range t.nodes {
		if t.threads[ip] == 0 {
			unknown[ip] = true
			if err := t.subscribe(ip); err != nil {
				return fmt.Errorf("ask benchmark node %s: %w", ip, err)
			}
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.options.Silence/3, ErrSilent)
	defer cancel()
	for len(unknown) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s; is it running? (benchmark nodes that do not report need no-wait and their number of threads)",
				context.Cause(ctx), firstOf(unknown))
		case b := <-t.reports.Batches():
			for _, frame := range b.Frames {
				t.takeStatus(unknown, frame)
			}
			b.Release()
		}
	}
	return nil
}

// subscribe asks a node for its status and, from now on, its reports. The answer's request id is the node's IP.
func (t *Trigger) subscribe(ip string) error {
	frame, err := messages.Marshal(messages.Envelope("trigger", &messages.StatusQuery{
		RequestId: ip, Topic: "reports", ResponseAddress: t.reports.Address()}))
	if err != nil {
		return err
	}
	return t.send(ip, messages.BenchControl, 0, frame)
}

func (t *Trigger) takeStatus(unknown map[string]bool, frame []byte) {
	var e messages.ControlEnvelope
	if err := messages.Unmarshal(frame, &e); err != nil {
		t.options.Logf("status: %v", err)
		return
	}
	s := e.GetStatusReport()
	threads := s.GetCounters()["threads"]
	if !unknown[s.GetRequestId()] || threads < 1 || threads > uint64(t.options.Plan.MaxThreads()) {
		return
	}
	delete(unknown, s.RequestId)
	t.threads[s.RequestId] = int(threads)
}

// firstOf returns one of the set's members, always the same one.
func firstOf(set map[string]bool) string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	return slices.Min(all)
}

// churn sends a string to the management node's churn socket.
func (t *Trigger) churn(c messages.Churn) error {
	if len(t.options.Management) == 0 {
		return fmt.Errorf("%w: %s needs one; give its IP", ErrNoManagement, c)
	}
	return t.send(t.options.Management[0], messages.ManageChurn, 0, []byte(c.String()))
}

// sendRemove stops the benchmark nodes that were added last.
func (t *Trigger) sendRemove(ctx context.Context, count int) error {
	nodes, err := t.running(ctx, messages.KindBenchmark)
	if err != nil {
		return err
	}
	if count > len(nodes) {
		return fmt.Errorf("REMOVE:%d: the management node runs only %d benchmark nodes", count, len(nodes))
	}
	for _, n := range nodes[len(nodes)-count:] {
		if err := t.churn(messages.Churn{Action: messages.ChurnRemove, IP: n.ip, Kind: messages.KindBenchmark}); err != nil {
			return err
		}
	}
	return nil
}

// fail has KNs killed, and waits until the management node says that they have gone.
func (t *Trigger) fail(ctx context.Context, c command.Fail) error {
	if t.options.NoWait { // it may be one of another system, which has no list to ask for
		return t.Send(ctx, c)
	}
	before, err := t.running(ctx, messages.KindMemory)
	if err != nil {
		return err
	}
	if c.Count > len(before) {
		return fmt.Errorf("%s: the management node runs only %d KNs; none was killed", c, len(before))
	}
	if err := t.Send(ctx, c); err != nil {
		return err
	}
	return t.await(ctx, c, messages.KindMemory, func(now []node) bool { return len(without(before, now)) >= c.Count })
}

// changeNodes adds or removes benchmark nodes and waits until the management node says that they have come or gone. Nodes
// that somebody else started, which it knows nothing of, stay in the trigger's list.
func (t *Trigger) changeNodes(ctx context.Context, c command.Command, by int) error {
	before, err := t.running(ctx, messages.KindBenchmark)
	if err != nil {
		return err
	}
	if err := t.Send(ctx, c); err != nil {
		return err
	}
	return t.await(ctx, c, messages.KindBenchmark, func(now []node) bool {
		came, went := without(ipsOf(now), slices.Concat(ipsOf(before), t.nodes)), without(ipsOf(before), ipsOf(now))
		if by > 0 && len(came) < by || by < 0 && len(went) < -by {
			return false
		}
		t.nodes = append(without(t.nodes, went), came...)
		return true
	})
}

// await asks for the running nodes of a kind until done is content with them.
func (t *Trigger) await(ctx context.Context, c command.Command, kind messages.NodeKind, done func(now []node) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*t.options.Silence,
		fmt.Errorf("%s: the management node has not done it in %v; its log says why", c, 2*t.options.Silence))
	defer cancel()
	for {
		now, err := t.running(ctx, kind)
		if err != nil {
			return err
		}
		if done(now) {
			return nil
		}
		pause := t.options.Clock.NewTimer(50 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// node is a process that the management node runs: at one IP there may be another one soon.
type node struct {
	ip      string
	process uint64
}

func ipsOf(nodes []node) []string {
	var ips []string
	for _, n := range nodes {
		ips = append(ips, n.ip)
	}
	return ips
}

// without returns the members of list that others does not have.
func without[T comparable](list, others []T) []T {
	var out []T
	for _, s := range list {
		if !slices.Contains(others, s) {
			out = append(out, s)
		}
	}
	return out
}

// running asks the management node which nodes of a kind it runs, and returns them in the order of their IPs.
func (t *Trigger) running(ctx context.Context, kind messages.NodeKind) ([]node, error) {
	if len(t.options.Management) == 0 {
		return nil, fmt.Errorf("%w: give its IP", ErrNoManagement)
	}
	a, err := t.options.Plan.Address(t.options.Management[0], messages.ManageControl, 0)
	if err != nil {
		return nil, err
	}
	query, err := messages.Marshal(messages.Envelope("trigger", &messages.StatusQuery{RequestId: "nodes", Topic: "nodes"}))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.options.Silence/3)
	defer cancel()
	answer, err := runtime.Request(ctx, a.String(), query, runtime.ReqOptions{})
	if err != nil {
		return nil, fmt.Errorf("%w that answers at %s: %w", ErrNoManagement, a, err)
	}
	var e messages.ControlEnvelope
	if err := messages.Unmarshal(answer, &e); err != nil {
		return nil, fmt.Errorf("answer of the management node: %w", err)
	}
	var nodes []node
	for _, n := range e.GetStatusReport().GetNodes() {
		if _, err := messages.ParseIP(n.GetPrivateIp()); err == nil && n.GetKind() == string(kind) && n.GetState() == "running" {
			nodes = append(nodes, node{n.GetPrivateIp(), n.GetPid()})
		}
	}
	slices.SortFunc(nodes, func(a, b node) int {
		x, _ := messages.ParseIP(a.ip)
		y, _ := messages.ParseIP(b.ip)
		return x.Compare(y)
	})
	return nodes, nil
}
