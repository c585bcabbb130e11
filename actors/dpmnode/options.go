package dpmnode

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// Listen starts to serve verbs on a pool at "ip:port". How, the fabric knows; who composes the process chooses it.
type Listen func(p *dpm.Pool, o fabric.ListenOptions) (fabric.Listener, error)

// Options configures a DPM node. IP, Pool and Listen are required; the zero value of every other field means its default.
type Options struct {
	// IP is the node's own; every socket is bound to it.
	IP string
	// Plan gives the ports.
	Plan messages.Plan
	// VerbsPort replaces the plan's port for verbs when it is not 0.
	VerbsPort int
	// Pool says which pool to open.
	Pool dpm.Options
	// Listen serves the pool.
	Listen Listen
	// MaxChores bounds how many fences, drains and pointer changes run at once. Default 256; more are refused with an
	// error, and whoever asked asks again.
	MaxChores int
	// DrainTimeout bounds one drain. Default 60 s; whoever asks again starts another, which goes on from there.
	DrainTimeout time.Duration
	// Transport configures the control socket.
	Transport runtime.TCPOptions

	// Mailbox is how many messages may wait for the node's actor. Default as runtime.HostOptions.
	Mailbox int
	Clock   clock.Clock
	// System holds the sockets and actors. Default runtime.Machine.
	System runtime.System
	// Logf receives lines about the pool's life. Nil: silent.
	Logf func(format string, args ...any)
}

// maxControlBytes bounds a frame on the control plane: a map of the largest cluster fits.
const maxControlBytes = 4 << 20

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.MaxChores == 0 {
		o.MaxChores = 256
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = time.Minute
	}
	if o.Transport.Pull.MaxFrameBytes == 0 {
		o.Transport.Pull.MaxFrameBytes = maxControlBytes
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.System == nil {
		o.System = runtime.Machine{}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// Validate says what is missing or wrong. The pool's options are the pool's to check.
func (o *Options) Validate() error {
	if _, err := messages.ParseIP(o.IP); err != nil {
		return fmt.Errorf("DPM node's own IP: %w", err)
	}
	switch {
	case o.Listen == nil:
		return fmt.Errorf("DPM node: no fabric to serve the pool over")
	case o.VerbsPort < 0 || o.VerbsPort > 65535:
		return fmt.Errorf("DPM node: port %d for verbs; want 1 to 65535, or 0 for the plan's", o.VerbsPort)
	case o.MaxChores < 1 || o.DrainTimeout <= 0:
		return fmt.Errorf("DPM node: limits must be positive")
	}
	return nil
}

// verbsAddress returns "ip:port" of the verbs listener, of a node whose options are valid.
func (o *Options) verbsAddress() (string, error) {
	a, err := o.Plan.Address(o.IP, messages.DPMVerbs, 0)
	if err != nil {
		return "", err
	}
	if o.VerbsPort != 0 {
		a.Port = uint16(o.VerbsPort)
	}
	return a.HostPort(), nil
}
