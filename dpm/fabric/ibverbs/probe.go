//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe looks at every port of every card, at what the cards can do, and at the limit of locked memory.
func Probe(o Options) (all []Finding) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return []Finding{{LevelBad, err.Error(), ""}}
	}
	var ports []port
	for _, name := range deviceNames() {
		d, err := openDevice(name)
		if err != nil {
			all = append(all, Finding{LevelWarning, err.Error(), "give this user access to /dev/infiniband (group rdma)"})
			continue
		}
		all = append(all, d.probe())
		found, err := d.ports()
		if err != nil {
			all = append(all, Finding{LevelWarning, err.Error(), ""})
		}
		for _, p := range found {
			all = append(all, p.probe())
		}
		ports = append(ports, found...)
	}
	return append(all, probeChoice(ports, o), probeMemlock(), probeCM(o))
}

// probeChoice says which port the set-up by socket would take when none has the IP.
func probeChoice(ports []port, o Options) Finding {
	p, err := choose(ports, o, netip.Addr{})
	if err != nil {
		return Finding{LevelBad, err.Error(), "bring a port's network interface up and give it an IP, or name another device"}
	}
	return Finding{LevelGood, fmt.Sprintf("%s port %d is the one that is %s, and is taken where no IP decides", p.device, p.number, o.wanted()), ""}
}

// probe says what a card can do.
func (d *device) probe() Finding {
	var a C.struct_ibv_device_attr
	if rc := C.ibv_query_device(d.context, &a); rc != 0 {
		return Finding{LevelBad, fmt.Sprintf("%s: %v", d.name(), syscall.Errno(rc)), ""}
	}
	detail := fmt.Sprintf("%s: firmware %q, %d queue pairs, %d outstanding READs each way, atomics: ", d.name(),
		C.GoString(&a.fw_ver[0]), a.max_qp, min(a.max_qp_rd_atom, a.max_qp_init_rd_atom))
	switch a.atomic_cap {
	case C.IBV_ATOMIC_NONE:
		return Finding{LevelBad, detail + "none", "this card cannot carry CAS and FETCH_ADD; use fabric tcp"}
	case C.IBV_ATOMIC_HCA:
		return Finding{LevelGood, detail + "among this card's own", ""}
	}
	return Finding{LevelGood, detail + "also with processors", ""}
}

func (p *port) probe() Finding {
	switch {
	case !p.active:
		return Finding{LevelWarning, p.String(), "bring its network interface or link up"}
	case p.mtuBytes() < 4096 && p.ethernet:
		return Finding{LevelWarning, p.String(), "an interface MTU of at least 4200 (9000 is usual) allows packets of 4096"}
	}
	if _, err := p.path(Options{}, netip.Addr{}); err != nil {
		return Finding{LevelWarning, p.String(), err.Error()}
	}
	return Finding{LevelGood, p.String(), ""}
}

// probeMemlock looks at the limit that registering the pool must stay below.
func probeMemlock() Finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return Finding{LevelWarning, fmt.Sprintf("limit of locked memory: %v", err), ""}
	}
	if limit.Cur == unix.RLIM_INFINITY || os.Geteuid() == 0 {
		return Finding{LevelGood, "locked memory is not limited", ""}
	}
	return Finding{LevelWarning, fmt.Sprintf("locked memory is limited to %d KiB", limit.Cur>>10), "the whole pool is locked, and 1.1 MiB for each queue pair of a KN: ulimit -l unlimited"}
}

// probeCM looks for rdma_cm.
func probeCM(o Options) Finding {
	ch, err := newCMChannel()
	if err != nil {
		level := LevelWarning
		if o.Setup == RDMACM {
			level = LevelBad
		}
		return Finding{level, strings.TrimSpace(err.Error()), "modprobe rdma_ucm, or use the set-up by socket (dinomo.rdma.setup: socket)"}
	}
	ch.destroy()
	return Finding{LevelGood, "rdma_cm is there", ""}
}
