package messages

import (
	"fmt"
	"strconv"
	"strings"
)

// The plain strings that nodes send each other about membership. Each is one type, with String to write it and a Parse
// function to read it. Reading is strict: the right number of fields, tiers by their names, numeric IPv4 addresses (an
// IPv6 one has colons of its own, which these formats cannot carry), decimals without sign. Errors wrap ErrMalformed
// and show the form that was expected.
//
// A self-depart string is an address: ParseAddress. What is sent to a seed socket means nothing: anything is a question.

// MaxNoticeBytes bounds every plain string that is parsed here. The longest legitimate one has under 64 bytes.
const MaxNoticeBytes = 256

// Node is a node of a tier. As a string, <TIER>:<public_ip>:<private_ip>, it is what a KN's depart socket is told.
type Node struct {
	Tier      Tier
	PublicIP  string
	PrivateIP string
}

// String returns <TIER>:<public_ip>:<private_ip>.
func (n Node) String() string { return n.Tier.String() + ":" + n.PublicIP + ":" + n.PrivateIP }

// ParseNode reads what Node's String writes.
func ParseNode(s string) (Node, error) {
	const form = "<TIER>:<public_ip>:<private_ip>"
	fields, err := split(s, ":", 3, form)
	if err != nil {
		return Node{}, err
	}
	return parseNode(fields, form)
}

// NodeJoin is what a KN's join socket is told: by Anna as this string, by Dinomo as the request_msg of a NodeJoinRequest.
type NodeJoin struct {
	Node
	// JoinCount is how many times the node has been started before.
	JoinCount uint32
}

// String returns <TIER>:<public_ip>:<private_ip>:<join count>.
func (j NodeJoin) String() string { return j.Node.String() + ":" + decimal(j.JoinCount) }

// ParseNodeJoin reads what NodeJoin's String writes.
func ParseNodeJoin(s string) (NodeJoin, error) {
	const form = "<TIER>:<public_ip>:<private_ip>:<join count>"
	fields, err := split(s, ":", 4, form)
	if err != nil {
		return NodeJoin{}, err
	}
	return parseNodeJoin(fields, form)
}

// Notice is what routing nodes and the M-node are told on their notify sockets.
type Notice struct {
	// Depart: the node leaves; otherwise it joins.
	Depart bool
	Node
	// JoinCount is of a join only.
	JoinCount uint32
}

// String returns join:<TIER>:<public_ip>:<private_ip>:<join count> or depart:<TIER>:<public_ip>:<private_ip>.
func (n Notice) String() string {
	if n.Depart {
		return "depart:" + n.Node.String()
	}
	return "join:" + NodeJoin{n.Node, n.JoinCount}.String()
}

// ParseNotice reads what Notice's String writes.
func ParseNotice(s string) (Notice, error) {
	const joinForm = "join:<TIER>:<public_ip>:<private_ip>:<join count>"
	const departForm = "depart:<TIER>:<public_ip>:<private_ip>"
	switch {
	case strings.HasPrefix(s, "join:"):
		fields, err := split(s, ":", 5, joinForm)
		if err != nil {
			return Notice{}, err
		}
		join, err := parseNodeJoin(fields[1:], joinForm)
		return Notice{Node: join.Node, JoinCount: join.JoinCount}, err
	case strings.HasPrefix(s, "depart:"):
		fields, err := split(s, ":", 4, departForm)
		if err != nil {
			return Notice{}, err
		}
		node, err := parseNode(fields[1:], departForm)
		return Notice{Depart: err == nil, Node: node}, err
	}
	return Notice{}, fmt.Errorf("%w: %q; want %s or %s", ErrMalformed, clip(s), joinForm, departForm)
}

// DepartDone is what the M-node is told when a node has left as it was asked to.
type DepartDone struct{ Node }

// String returns <public_ip>_<private_ip>_<tier number>.
func (d DepartDone) String() string {
	return d.PublicIP + "_" + d.PrivateIP + "_" + strconv.Itoa(int(d.Tier))
}

// ParseDepartDone reads what DepartDone's String writes.
func ParseDepartDone(s string) (DepartDone, error) {
	const form = "<public_ip>_<private_ip>_<tier number>"
	fields, err := split(s, "_", 3, form)
	if err != nil {
		return DepartDone{}, err
	}
	n, err := parseDecimal(fields[2], uint64(Tier_ROUTING))
	if err != nil || n == 0 {
		return DepartDone{}, fmt.Errorf("%w: %q: tier %q; want %s", ErrMalformed, s, fields[2], form)
	}
	node, err := parseNode([]string{Tier(n).String(), fields[0], fields[1]}, form)
	return DepartDone{node}, err
}

// Failover tells a KN that another failed. The answer is an empty string once the failed one's log is merged.
type Failover struct {
	Tier Tier
	Rank uint32
}

// String returns <TIER>:<rank>.
func (f Failover) String() string { return f.Tier.String() + ":" + decimal(f.Rank) }

// ParseFailover reads what Failover's String writes.
func ParseFailover(s string) (Failover, error) {
	const form = "<TIER>:<rank>"
	fields, err := split(s, ":", 2, form)
	if err != nil {
		return Failover{}, err
	}
	tier, err := parseTier(fields[0], form)
	if err != nil {
		return Failover{}, err
	}
	rank, err := parseUint32(fields[1], "rank", form)
	return Failover{Tier: tier, Rank: rank}, err
}

// split cuts s into exactly n fields.
func split(s, separator string, n int, form string) ([]string, error) {
	if len(s) > MaxNoticeBytes {
		return nil, fmt.Errorf("%w: %d bytes; want %s", ErrMalformed, len(s), form)
	}
	fields := strings.Split(s, separator)
	if len(fields) != n {
		return nil, fmt.Errorf("%w: %q has %d fields; want %s", ErrMalformed, clip(s), len(fields), form)
	}
	return fields, nil
}

// parseNode reads the fields tier, public IP, private IP.
func parseNode(fields []string, form string) (Node, error) {
	tier, err := parseTier(fields[0], form)
	if err != nil {
		return Node{}, err
	}
	for _, ip := range fields[1:3] {
		if err := checkIPv4(ip, form); err != nil {
			return Node{}, err
		}
	}
	return Node{Tier: tier, PublicIP: fields[1], PrivateIP: fields[2]}, nil
}

// parseNodeJoin reads the fields of parseNode and the join count.
func parseNodeJoin(fields []string, form string) (NodeJoin, error) {
	node, err := parseNode(fields, form)
	if err != nil {
		return NodeJoin{}, err
	}
	count, err := parseUint32(fields[3], "join count", form)
	if err != nil {
		return NodeJoin{}, err
	}
	return NodeJoin{Node: node, JoinCount: count}, nil
}

func parseTier(s, form string) (Tier, error) {
	tier, ok := Tier_value[s]
	if !ok || tier == int32(Tier_TIER_UNSPECIFIED) {
		return 0, fmt.Errorf("%w: tier %q, want MEMORY, STORAGE or ROUTING in %s", ErrMalformed, clip(s), form)
	}
	return Tier(tier), nil
}

func checkIPv4(s, form string) error {
	ip, err := ParseIP(s)
	if err == nil && !ip.Is4() {
		err = fmt.Errorf("%w: IP %q is not IPv4", ErrInvalidAddress, s)
	}
	if err != nil {
		return fmt.Errorf("%w: %w; want %s", ErrMalformed, err, form)
	}
	return nil
}

func parseUint32(s, what, form string) (uint32, error) {
	n, err := parseDecimal(s, 1<<32-1)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w; want %s", ErrMalformed, what, err, form)
	}
	return uint32(n), nil
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
