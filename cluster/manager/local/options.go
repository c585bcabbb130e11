package local

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/cluster/manager"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// Options configures a provisioner. Binary, Command and LogDirectory are required; the zero value of every other field
// means its default.
type Options struct {
	// Binary is the program, by its path.
	Binary string
	// Command returns a node's arguments and environment. The environment is all there is: nothing is inherited.
	Command func(n manager.Node) (args, environment []string, err error)
	// Free returns why a node cannot be at its IP: somebody else is. Nil: it can be anywhere.
	Free func(n manager.Node) error
	// LogDirectory gets one file a node, <ip>-<kind>.log. It must exist.
	LogDirectory string
	// LogBytes is the size from which a log file is put aside (as .1): when its node starts, and once in LogPeriod. Defaults
	// 16 MiB and 1 min.
	LogBytes  int64
	LogPeriod time.Duration
	// StopTimeout is how long a process has for its orderly end. Default 10 s.
	StopTimeout time.Duration
	// MaxRestarts is how often a node is started again within RestartWindow. Defaults 10 and 1 min.
	MaxRestarts   int
	RestartWindow time.Duration
	// RestartPauseMin and RestartPauseMax bound the pause before a restart, which doubles. Defaults 200 ms, 5 s.
	RestartPauseMin, RestartPauseMax time.Duration
	// MaxNodes bounds how many nodes there are at once. Default 64.
	MaxNodes int
	// Journal is a file that lists the nodes. With it they outlive a provisioner that does not come to its Close, and the next
	// one takes them over. Without, they die with this process.
	Journal string
	// Lifeline, if not nil, is what the processes hang on: they end when it is cut.
	Lifeline *Lifeline
	// Events is told what happens, from goroutines of the provisioner; it must not call it.
	Events func(manager.Event)
	Clock  clock.Clock
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.StopTimeout, 10 * time.Second}, {&o.RestartWindow, time.Minute}, {&o.LogPeriod, time.Minute},
		{&o.RestartPauseMin, 200 * time.Millisecond}, {&o.RestartPauseMax, 5 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.LogBytes == 0 {
		o.LogBytes = 16 << 20
	}
	if o.MaxRestarts == 0 {
		o.MaxRestarts = 10
	}
	if o.MaxNodes == 0 {
		o.MaxNodes = 64
	}
	if o.Free == nil {
		o.Free = func(manager.Node) error { return nil }
	}
	if o.Events == nil {
		o.Events = func(manager.Event) {}
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
}

// Validate says what is missing.
func (o *Options) Validate() error {
	if o.Binary == "" || o.Command == nil || o.LogDirectory == "" {
		return fmt.Errorf("local provisioner: needs the binary, how to call it and a directory for logs")
	}
	if o.StopTimeout <= 0 || o.RestartPauseMin <= 0 || o.LogPeriod <= 0 || o.MaxRestarts < 0 || o.MaxNodes < 1 {
		return fmt.Errorf("local provisioner: times and limits must be positive")
	}
	return nil
}

// subcommands are the binary's, by kind of node.
var subcommands = map[messages.NodeKind]string{
	messages.KindMemory: "kn", messages.KindRouting: "route", messages.KindBenchmark: "bench",
	messages.KindMonitor: "monitor", messages.KindDPM: "dpm", KindManagement: "manage",
}

// KindManagement is a management node's kind; nobody can add one by a message.
const KindManagement messages.NodeKind = "management"

// Subcommand returns the binary's subcommand for a kind of node.
func Subcommand(k messages.NodeKind) (string, error) {
	if s, ok := subcommands[k]; ok {
		return s, nil
	}
	return "", fmt.Errorf("a node of kind %q cannot be started: there is one pool, and it is started with the cluster", k)
}
