//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"fmt"
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
	usable := false
	for _, name := range deviceNames() {
		d, err := openDevice(name)
		if err != nil {
			all = append(all, Finding{LevelBad, err.Error(), "give this user access to /dev/infiniband (group rdma)"})
			continue
		}
		all = append(all, d.probe())
		ports, err := d.ports(o.GID)
		if err != nil {
			all = append(all, Finding{LevelBad, err.Error(), ""})
			continue
		}
		for _, p := range ports {
			f := p.probe()
			usable = usable || f.Level != LevelBad
			all = append(all, f)
		}
	}
	if !usable {
		all = append(all, Finding{LevelBad, "no port of any card can be used", "bring a port's network interface up and give it an IPv4 address"})
	}
	return append(all, probeMemlock(), probeCM())
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
		return Finding{LevelBad, p.String(), "bring its network interface up"}
	case p.ethernet && p.gidIndex < 0:
		return Finding{LevelBad, fmt.Sprintf("%s port %d: no RoCE v2 address with IPv4", p.device, p.number), "give its network interface an IPv4 address"}
	case p.mtuBytes() < 4096 && p.ethernet:
		return Finding{LevelWarning, p.String(), "an interface MTU of at least 4200 (9000 is usual) allows packets of 4096"}
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
func probeCM() Finding {
	ch, err := newCMChannel()
	if err != nil {
		return Finding{LevelWarning, strings.TrimSpace(err.Error()), "without it use the set-up by socket"}
	}
	ch.destroy()
	return Finding{LevelGood, "rdma_cm is there", ""}
}
