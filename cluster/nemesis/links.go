package nemesis

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
)

// link is one direction between two nodes: packets from one IP to another.
type link struct{ from, to string }

func (l link) String() string { return l.from + "->" + l.to }

// ErrNoFilter: links cannot be cut here.
var ErrNoFilter = errors.New("links cannot be cut: nft is needed (apt-get install nftables), in a network namespace of the run's own")

// links cuts links with packet filter rules. Packets vanish, as on a broken wire: connections do not end, they stall.
type links struct {
	mu sync.Mutex
	// cuts counts the faults that want a link cut, as they may overlap.
	cuts map[link]int
}

// filterRules drop on the way in, so that the sender notices nothing.
const filterRules = `table ip dinomo {
	set cut { type ipv4_addr . ipv4_addr; }
	chain in { type filter hook input priority 0; policy accept; ip saddr . ip daddr @cut drop; }
}
`

// newLinks sets the filter up. ErrNoFilter: there is none here.
func newLinks() (*links, error) {
	if !Isolated() {
		return nil, fmt.Errorf("%w; this process is in none", ErrNoFilter)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, fmt.Errorf("%w; %w", ErrNoFilter, err)
	}
	if err := nft(filterRules); err != nil {
		return nil, err
	}
	return &links{cuts: map[link]int{}}, nil
}

// nft feeds commands to the packet filter, all or nothing.
func nft(commands string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// cut cuts links until the function that it returns is called, once.
func (l *links) cut(which []link) (mend func() error, err error) {
	if err := l.change(which, +1); err != nil {
		return nil, err
	}
	return func() error { return l.change(which, -1) }, nil
}

func (l *links) change(which []link, by int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var commands strings.Builder
	for _, one := range which {
		was := l.cuts[one]
		l.cuts[one] = was + by
		switch {
		case was == 0 && by > 0:
			fmt.Fprintf(&commands, "add element ip dinomo cut { %s . %s }\n", one.from, one.to)
		case was == 1 && by < 0:
			fmt.Fprintf(&commands, "delete element ip dinomo cut { %s . %s }\n", one.from, one.to)
		}
	}
	if commands.Len() == 0 {
		return nil
	}
	return nft(commands.String())
}

// both returns a link and its reverse.
func both(a, b string) []link { return []link{{a, b}, {b, a}} }
