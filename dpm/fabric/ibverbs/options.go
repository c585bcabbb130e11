package ibverbs

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotBuilt: this binary was built without RDMA.
var ErrNotBuilt = errors.New("fabric ibverbs is not in this binary: build it with -tags rdma (libibverbs-dev, librdmacm-dev and a C compiler), or use fabric tcp or shm")

// Setup is how a queue pair's two ends find each other.
type Setup string

// The two ways.
const (
	// RDMACM: librdmacm resolves the IP address to a device and path, and carries the greeting as
	// private data. The listener's address is an address of an RDMA device.
	RDMACM Setup = "cm"
	// Socket: both ends exchange queue pair numbers over a TCP connection, as the original's sock_port does. Works
	// where librdmacm does not, and needs the device to be named or found by GID.
	Socket Setup = "socket"
)

// Options choose and tune the network card. Zero fields mean their defaults.
type Options struct {
	Setup Setup // default RDMACM
	// Device is the card's name (see ibv_devices), and Port its port. "" and 0 take the one that has the IP address of this end, else,
	// with Socket, the first one that is up. With RDMACM the IP address decides, and Device and Port must agree if they are given.
	Device string
	Port   int
	// GID is the index of the port's address in its table, plus 1, with Socket. 0 takes a RoCE v2 address: that of this end's IP, else
	// the first one with IPv4 (InfiniBand needs none). With RDMACM the IP address decides.
	GID int
	// Retries of a lost packet before the queue pair breaks, 1 to 6, default 6. 7 would mean for
	// ever on some hardware.
	Retries int
	// AckTimeout is the exponent of the time after which a packet counts as lost: 4.096 us * 2^AckTimeout.
	// 1 to 31, default 14 (67 ms; with 6 retries a dead peer is noticed after about half a second).
	AckTimeout int
	// Polls of the completion queue before a wait sleeps, default 500: some tens of microseconds. Fewer
	// where processors are scarce.
	Polls int
	// Persist says how FLUSH makes WRITEs durable in the pool's memory when the durability is dax.
	Persist Persist // default ByProcessor

	private struct { // for tests
		version uint16 // what a dialler says it speaks; 0 means wire.Version
	}
}

// Persist is a way to make what a card has written persistent. Which one is right depends on where the
// server's hardware lets a card's writes end, and software cannot find that out.
type Persist string

// The ways.
const (
	// ByProcessor: the DPM writes the cache lines back. Right on every machine; costs the DPM's processor.
	ByProcessor Persist = "processor"
	// ByRead: a READ behind the WRITEs drives them out of the card and the bus. Enough when they end in memory
	// and not in a cache (DDIO off), or when caches are persistent (eADR).
	ByRead Persist = "read"
)

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Setup == "" {
		o.Setup = RDMACM
	}
	if o.Retries == 0 {
		o.Retries = 6
	}
	if o.AckTimeout == 0 {
		o.AckTimeout = 14
	}
	if o.Polls == 0 {
		o.Polls = 500
	}
	if o.Persist == "" {
		o.Persist = ByProcessor
	}
}

// Validate says which field is wrong.
func (o *Options) Validate() error {
	switch {
	case o.Setup != RDMACM && o.Setup != Socket:
		return fmt.Errorf("ibverbs setup %q: want %s or %s", o.Setup, RDMACM, Socket)
	case strings.Contains(o.Device, "/"):
		return fmt.Errorf("ibverbs device %q: want a name as in /sys/class/infiniband", o.Device)
	case o.Port < 0 || o.Port > 255:
		return fmt.Errorf("ibverbs port %d: want 1 to 255, or 0 for the first active one", o.Port)
	case o.GID < 0 || o.GID > 256:
		return fmt.Errorf("ibverbs gid %d: want a table index plus 1, or 0 to find one", o.GID)
	case o.GID != 0 && o.Setup == RDMACM:
		return errors.New("ibverbs gid: rdma_cm finds the GID from the IP address; name none, or use the set-up by socket")
	case o.Retries < 1 || o.Retries > 6:
		return fmt.Errorf("ibverbs retries %d: want 1 to 6 (7 means for ever on some hardware)", o.Retries)
	case o.AckTimeout < 1 || o.AckTimeout > 31:
		return fmt.Errorf("ibverbs ack-timeout %d: want 1 to 31", o.AckTimeout)
	case o.Polls < 1:
		return fmt.Errorf("ibverbs polls %d: want at least 1", o.Polls)
	case o.Persist != ByProcessor && o.Persist != ByRead:
		return fmt.Errorf("ibverbs persist %q: want %s or %s", o.Persist, ByProcessor, ByRead)
	}
	return nil
}
