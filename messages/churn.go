package messages

import (
	"fmt"
	"strings"
)

// NodeKind is a kind of node as the management node's strings and NodeStatus name it.
type NodeKind string

// The kinds that can be added and removed, and the two that the management node only reports.
const (
	KindMemory    NodeKind = "memory"
	KindStorage   NodeKind = "storage"
	KindRouting   NodeKind = "routing"
	KindBenchmark NodeKind = "benchmark"
	KindMonitor   NodeKind = "monitor"
	KindDPM       NodeKind = "dpm"
)

// ParseNodeKind reads one of the kinds that churn is about: memory, storage, routing or benchmark.
func ParseNodeKind(s string) (NodeKind, error) {
	switch k := NodeKind(s); k {
	case KindMemory, KindStorage, KindRouting, KindBenchmark:
		return k, nil
	}
	return "", fmt.Errorf("%w: kind %q; want memory, storage, routing or benchmark", ErrMalformed, clip(s))
}

// MaxChurn bounds how many nodes one string can add or fail.
const MaxChurn = 1024

// ChurnAction is what is asked of the management node.
type ChurnAction uint8

const (
	// ChurnAdd starts nodes.
	ChurnAdd ChurnAction = iota
	// ChurnRemove stops the node of an IP, politely.
	ChurnRemove
	// ChurnFail kills nodes without warning. Not in Dinomo's original, where a person did it.
	ChurnFail
)

// Churn asks the management node to start or stop nodes.
type Churn struct {
	Action ChurnAction
	// Count is of ChurnAdd and ChurnFail: 1 to MaxChurn.
	Count int
	// IP is of ChurnRemove: the node's private IP.
	IP   string
	Kind NodeKind
}

// String returns add:<count>:<kind>, remove:<ip>:<kind> or fail:<count>:<kind>.
func (c Churn) String() string {
	switch c.Action {
	case ChurnRemove:
		return fmt.Sprintf("remove:%s:%s", c.IP, c.Kind)
	case ChurnFail:
		return fmt.Sprintf("fail:%d:%s", c.Count, c.Kind)
	}
	return fmt.Sprintf("add:%d:%s", c.Count, c.Kind)
}

// ParseChurn reads what Churn's String writes.
func ParseChurn(s string) (Churn, error) {
	const form = "add:<count>:<kind>, remove:<ip>:<kind> or fail:<count>:<kind>"
	fields, err := split(s, ":", 3, form)
	if err != nil {
		return Churn{}, err
	}
	kind, err := ParseNodeKind(fields[2])
	if err != nil {
		return Churn{}, fmt.Errorf("churn %q: %w", s, err)
	}
	c := Churn{Kind: kind}
	switch fields[0] {
	case "add":
		c.Action = ChurnAdd
	case "fail":
		c.Action = ChurnFail
	case "remove":
		c.Action, c.IP = ChurnRemove, fields[1]
		return c, checkIPv4(c.IP, form)
	default:
		return Churn{}, fmt.Errorf("%w: churn %q; want %s", ErrMalformed, s, form)
	}
	n, err := parseDecimal(fields[1], MaxChurn)
	if err != nil || n == 0 {
		return Churn{}, fmt.Errorf("%w: churn %q: count %q; want 1 to %d", ErrMalformed, s, fields[1], MaxChurn)
	}
	c.Count = int(n)
	return c, nil
}

// RestartQuery asks the management node how many times a node was restarted.
type RestartQuery struct{ PrivateIP string }

// String returns restart:<private_ip>.
func (q RestartQuery) String() string { return "restart:" + q.PrivateIP }

// ParseRestartQuery reads what RestartQuery's String writes.
func ParseRestartQuery(s string) (RestartQuery, error) {
	const form = "restart:<private_ip>"
	ip, ok := strings.CutPrefix(s, "restart:")
	if !ok || len(s) > MaxNoticeBytes {
		return RestartQuery{}, fmt.Errorf("%w: %q; want %s", ErrMalformed, clip(s), form)
	}
	return RestartQuery{ip}, checkIPv4(ip, form)
}

// FormatRestartCount writes the answer to a RestartQuery.
func FormatRestartCount(n uint32) string { return decimal(n) }

// ParseRestartCount reads the answer to a RestartQuery.
func ParseRestartCount(s string) (uint32, error) {
	return parseUint32(s, "restart count", "a decimal number")
}
