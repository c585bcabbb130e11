//go:build rdma && linux && cgo

package ibverbs

/*
#cgo LDFLAGS: -libverbs -lrdmacm
#include <stdlib.h>
#include "verbs.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"
)

// ErrNoDevice: no RDMA card, or none that the options ask for.
var ErrNoDevice = errors.New("no usable RDMA device")

// errno turns the negative numbers that C functions return into errors.
func errno(rc C.int) error {
	if rc >= 0 {
		return nil
	}
	return syscall.Errno(-rc)
}

// Available returns nil when a device is there.
func Available() error {
	if len(deviceNames()) == 0 {
		return fmt.Errorf("%w: /sys/class/infiniband is empty (drivers loaded? for a card made of software: rdma link add rxe0 type rxe netdev eth0)", ErrNoDevice)
	}
	return nil
}

func deviceNames() (names []string) {
	entries, err := os.ReadDir("/sys/class/infiniband")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		names = append(names, e.Name()) // in alphabetical order
	}
	return names
}

// port is one port of a card, with the address that packets to it carry.
type port struct {
	device   string
	number   int
	active   bool
	ethernet bool // RoCE: addresses are GIDs; else InfiniBand: LIDs
	gidIndex int  // -1: no GID is used
	gid      [16]byte
	lid      uint16
	mtu      int // ibv_mtu, an exponent
	reads    int // outstanding READs and atomics that the card answers
}

// mtuBytes is what a packet carries.
func (p *port) mtuBytes() int { return 128 << p.mtu }

func (p *port) String() string {
	state := "down"
	if p.active {
		state = "active"
	}
	return fmt.Sprintf("%s port %d: %s, GID %d (%s), MTU %d", p.device, p.number, state, p.gidIndex, netip.AddrFrom16(p.gid).Unmap(), p.mtuBytes())
}

// device is an opened card with the protection domain of everything this process registers there.
// It stays open for the life of the process: cards are few.
type device struct {
	context *C.struct_ibv_context
	pd      *C.struct_ibv_pd
}

// devices are shared by all endpoints. A context of librdmacm's is another one than ours of the same
// card, and the two cannot share memory registrations: so the context is the key.
var devices = struct {
	sync.Mutex
	byName    map[string]*device
	byContext map[*C.struct_ibv_context]*device
}{byName: make(map[string]*device), byContext: make(map[*C.struct_ibv_context]*device)}

// openDevice opens the card of that name.
func openDevice(name string) (*device, error) {
	devices.Lock()
	defer devices.Unlock()
	if d := devices.byName[name]; d != nil {
		return d, nil
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	context, err := C.dn_open_device(cname)
	if context == nil {
		return nil, fmt.Errorf("open RDMA device %s (access to /dev/infiniband?): %w: %w", name, ErrNoDevice, err)
	}
	d, err := newDevice(context)
	if err == nil {
		devices.byName[name] = d
	}
	return d, err
}

// deviceOf returns the card behind a context of librdmacm's.
func deviceOf(context *C.struct_ibv_context) (*device, error) {
	devices.Lock()
	defer devices.Unlock()
	if d := devices.byContext[context]; d != nil {
		return d, nil
	}
	d, err := newDevice(context)
	if err == nil {
		devices.byContext[context] = d
	}
	return d, err
}

func newDevice(context *C.struct_ibv_context) (*device, error) {
	pd, err := C.ibv_alloc_pd(context)
	if pd == nil {
		return nil, fmt.Errorf("allocate an RDMA protection domain: %w", err)
	}
	return &device{context: context, pd: pd}, nil
}

func (d *device) name() string { return C.GoString(C.ibv_get_device_name(d.context.device)) }

// ports looks at all ports of the card. want is Options.GID.
func (d *device) ports(want int) ([]port, error) {
	var a C.struct_ibv_device_attr
	if rc := C.ibv_query_device(d.context, &a); rc != 0 {
		return nil, fmt.Errorf("query RDMA device %s: %w", d.name(), syscall.Errno(rc))
	}
	var all []port
	for n := 1; n <= int(a.phys_port_cnt); n++ {
		p, err := d.port(n, want)
		if err != nil {
			return nil, err
		}
		p.reads = min(int(a.max_qp_rd_atom), int(a.max_qp_init_rd_atom), 16)
		all = append(all, p)
	}
	return all, nil
}

func (d *device) port(number, want int) (port, error) {
	var a C.struct_ibv_port_attr
	if err := errno(C.dn_query_port(d.context, C.int(number), &a)); err != nil {
		return port{}, fmt.Errorf("query port %d of RDMA device %s: %w", number, d.name(), err)
	}
	p := port{
		device: d.name(), number: number, active: a.state == C.IBV_PORT_ACTIVE, gidIndex: -1,
		ethernet: a.link_layer == C.IBV_LINK_LAYER_ETHERNET, lid: uint16(a.lid), mtu: int(a.active_mtu),
	}
	if !p.ethernet && want == 0 {
		return p, nil
	}
	for i := range int(a.gid_tbl_len) {
		gid, v2, ok := d.gid(number, i)
		if !ok || want != 0 && i != want-1 || want == 0 && !(v2 && netip.AddrFrom16(gid).Is4In6()) {
			continue
		}
		p.gid, p.gidIndex = gid, i
		return p, nil
	}
	return p, nil
}

// gid reads one slot of a port's address table; many are empty.
func (d *device) gid(number, index int) (gid [16]byte, v2, ok bool) {
	var g C.union_ibv_gid
	var roceV2 C.int
	if C.dn_query_gid_type(d.context, C.int(number), C.int(index), &g, &roceV2) != 0 {
		return gid, false, false
	}
	return *(*[16]byte)(unsafe.Pointer(&g)), roceV2 != 0, true
}

// choosePort returns the first port that the options allow and that is up. With an address, only the port that has it
// will do: what peers dial must be what the card answers to.
func choosePort(o Options, address netip.Addr) (*device, port, error) {
	var seen []string
	for _, name := range deviceNames() {
		if o.Device != "" && o.Device != name {
			continue
		}
		d, err := openDevice(name)
		if err != nil {
			return nil, port{}, err
		}
		ports, err := d.ports(o.GID)
		if err != nil {
			return nil, port{}, err
		}
		for _, p := range ports {
			seen = append(seen, p.String())
			usable := p.active && (!p.ethernet || p.gidIndex >= 0) && (o.Port == 0 || o.Port == p.number)
			if usable && (!address.IsValid() || d.has(p.number, address)) {
				return d, p, nil
			}
		}
	}
	what := fmt.Sprintf("%+v", o)
	if address.IsValid() {
		what += " with address " + address.String()
	}
	return nil, port{}, fmt.Errorf("%w for %s; there are: %s", ErrNoDevice, what, strings.Join(seen, "; "))
}

// has reports whether an address is in a port's table.
func (d *device) has(number int, address netip.Addr) bool {
	want := netip.AddrFrom16(address.As16())
	for i := range 256 {
		if gid, _, ok := d.gid(number, i); ok && netip.AddrFrom16(gid) == want {
			return true
		}
	}
	return false
}

// region is memory that peers may reach.
type region struct {
	mr   *C.struct_ibv_mr
	base uint64
	rkey uint32
}

// register makes mem reachable for the peers of this device's queue pairs.
func (d *device) register(mem []byte) (*region, error) {
	if len(mem) == 0 {
		return nil, errors.New("register an empty region")
	}
	mr, err := C.dn_reg_mr(d.pd, unsafe.Pointer(&mem[0]), C.size_t(len(mem)), 1)
	if mr == nil {
		return nil, fmt.Errorf("register %d bytes with RDMA device %s: %w%s", len(mem), d.name(), err, registerHint(err))
	}
	return &region{mr: mr, base: uint64(uintptr(unsafe.Pointer(&mem[0]))), rkey: uint32(mr.rkey)}, nil
}

// registerHint says what usually stands behind a refusal.
func registerHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EPERM):
		return " (raise the limit of locked memory: ulimit -l unlimited)"
	case errors.Is(err, syscall.EFAULT):
		return " (this memory cannot be pinned: is the file system full, or is the file on a disk, which Linux 6.5 and later do not pin?)"
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EINVAL):
		return " (this memory cannot be pinned: a file with dax; use volatile memory, tmpfs or a device-dax)"
	}
	return ""
}

func (r *region) close() error { return errno(-C.ibv_dereg_mr(r.mr)) }
