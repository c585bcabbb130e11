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

// ports looks at all ports of the card.
func (d *device) ports() ([]port, error) {
	var a C.struct_ibv_device_attr
	if rc := C.ibv_query_device(d.context, &a); rc != 0 {
		return nil, fmt.Errorf("query RDMA device %s: %w", d.name(), syscall.Errno(rc))
	}
	var all []port
	slots := 0
	for n := 1; n <= int(a.phys_port_cnt); n++ {
		var attr C.struct_ibv_port_attr
		if err := errno(C.dn_query_port(d.context, C.int(n), &attr)); err != nil {
			return nil, fmt.Errorf("query port %d of RDMA device %s: %w", n, d.name(), err)
		}
		slots += int(attr.gid_tbl_len)
		all = append(all, port{
			device: d.name(), number: n, active: attr.state == C.IBV_PORT_ACTIVE, ethernet: attr.link_layer == C.IBV_LINK_LAYER_ETHERNET,
			lid: uint16(attr.lid), mtu: int(attr.active_mtu), reads: min(int(a.max_qp_rd_atom), int(a.max_qp_init_rd_atom), 16),
		})
	}
	return all, d.addGIDs(all, slots)
}

// addGIDs gives ports their address tables, which have at most so many entries together.
func (d *device) addGIDs(ports []port, slots int) error {
	if slots == 0 {
		return nil
	}
	table := (*C.struct_ibv_gid_entry)(C.calloc(C.size_t(slots), C.sizeof_struct_ibv_gid_entry))
	defer C.free(unsafe.Pointer(table))
	n, err := C.ibv_query_gid_table(d.context, table, C.size_t(slots), 0)
	if n < 0 {
		return fmt.Errorf("query the addresses of RDMA device %s: %w", d.name(), err)
	}
	for _, e := range unsafe.Slice(table, int(n)) {
		if i := int(e.port_num) - 1; i >= 0 && i < len(ports) {
			ports[i].gids = append(ports[i].gids, gid{index: int(e.gid_index), raw: *(*[16]byte)(unsafe.Pointer(&e.gid)), v2: e.gid_type == C.IBV_GID_TYPE_ROCE_V2})
		}
	}
	return nil
}

// allPorts looks at every port of every card, in alphabetical order. It fails only if that leaves nothing to choose from.
func allPorts() (all []port, err error) {
	for _, name := range deviceNames() {
		d, broken := openDevice(name)
		if broken == nil {
			var ports []port
			if ports, broken = d.ports(); broken == nil {
				all = append(all, ports...)
			}
		}
		err = errors.Join(err, broken)
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

// choosePath is choose among all cards.
func choosePath(o Options, near netip.Addr) (*device, path, error) {
	ports, err := allPorts()
	if err != nil {
		return nil, path{}, err
	}
	p, err := choose(ports, o, near)
	if err != nil {
		return nil, path{}, err
	}
	d, err := openDevice(p.device)
	return d, p, err
}

// OwnAddress returns an "ip:0" of the card that the options take.
func OwnAddress(o Options) (string, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return "", err
	}
	_, p, err := choosePath(o, netip.Addr{})
	if err != nil {
		return "", err
	}
	if p.ethernet {
		return netip.AddrPortFrom(netip.AddrFrom16(p.gid).Unmap(), 0).String(), nil
	}
	if o.Setup == Socket { // InfiniBand: the exchange goes through any network
		return "127.0.0.1:0", nil
	}
	return "", fmt.Errorf("%s port %d is InfiniBand: name the IP that its network interface has", p.device, p.number)
}

// executesAtomics says why a card is no good for a pool, nil if it is.
func (d *device) executesAtomics() error {
	var a C.struct_ibv_device_attr
	if rc := C.ibv_query_device(d.context, &a); rc != 0 {
		return fmt.Errorf("query RDMA device %s: %w", d.name(), syscall.Errno(rc))
	}
	if a.atomic_cap == C.IBV_ATOMIC_NONE {
		return fmt.Errorf("%w: %s executes no CAS and FETCH_ADD (iWARP?); use fabric tcp", ErrNoDevice, d.name())
	}
	return nil
}

// addressHint says which IP addresses the cards have.
func addressHint() string {
	ports, err := allPorts()
	var all []string
	for i := range ports {
		for _, g := range ports[i].gids {
			if a := g.address(); g.v2 && !a.IsLinkLocalUnicast() {
				all = append(all, fmt.Sprintf("%s (%s port %d)", a, ports[i].device, ports[i].number))
			}
		}
	}
	switch {
	case err != nil:
		return fmt.Sprintf("no RDMA device can be looked at: %v", err)
	case len(all) == 0:
		return "no RDMA device here has an IP"
	}
	return "there are " + strings.Join(all, ", ")
}

// region is memory that peers may reach.
type region struct {
	mr    *C.struct_ibv_mr
	base  uint64
	bytes uint64
	rkey  uint32
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
	return &region{mr: mr, base: uint64(uintptr(unsafe.Pointer(&mem[0]))), bytes: uint64(len(mem)), rkey: uint32(mr.rkey)}, nil
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
