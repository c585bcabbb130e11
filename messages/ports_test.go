package messages

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestPortTable checks the table against testdata/ports: every socket of both plans, and what each role binds.
func TestPortTable(t *testing.T) {
	datadriven.RunTest(t, "testdata/ports", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "sockets":
			var out strings.Builder
			for s := range NumSockets {
				each := "node"
				if s.PerThread() {
					each = "thread"
				}
				fmt.Fprintf(&out, "%-28s %-4s per %-6s dinomo %d anna %d\n", s, s.Pattern(), each, PlanDinomo.Base(s), PlanAnna.Base(s))
			}
			return out.String()
		case "bindings":
			plan, role, threads := scanPlan(t, d), scanRole(t, d), 0
			d.ScanArgs(t, "threads", &threads)
			bindings, err := plan.Bindings(role, threads)
			if err != nil {
				return err.Error() + "\n"
			}
			var out strings.Builder
			for _, b := range bindings {
				fmt.Fprintf(&out, "%d %s, thread %d\n", b.Port, b.Socket, b.Thread)
			}
			return out.String()
		case "shared":
			threads := make(map[Role]int)
			for r := range numRoles {
				var n int
				if d.MaybeScanArgs(t, r.String(), &n) {
					threads[r] = n
				}
			}
			if err := scanPlan(t, d).CheckShared(threads); err != nil {
				return err.Error() + "\n"
			}
			return "ok\n"
		}
		d.Fatalf(t, "unknown command")
		return ""
	})
}

func scanPlan(t *testing.T, d *datadriven.TestData) Plan {
	var s string
	d.ScanArgs(t, "plan", &s)
	p, err := ParsePlan(s)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return p
}

func scanRole(t *testing.T, d *datadriven.TestData) Role {
	var s string
	d.ScanArgs(t, "role", &s)
	for r := range numRoles {
		if r.String() == s {
			return r
		}
	}
	d.Fatalf(t, "no role %q", s)
	return 0
}

// TestNoCollisionWithinANode: whatever the number of threads, no node binds one port twice; and in the dinomo plan
// all roles even fit on one address.
func TestNoCollisionWithinANode(t *testing.T) {
	for p := range numPlans {
		for n := 1; n <= p.MaxThreads(); n++ {
			all := make(map[Role]int)
			for r := range numRoles {
				all[r] = n
				if err := p.CheckShared(map[Role]int{r: n}); err != nil {
					t.Errorf("%s: %v", p, err)
				}
			}
			if err := p.CheckShared(all); p == PlanDinomo && err != nil {
				t.Errorf("all roles with %d threads on one address: %v", n, err)
			}
		}
	}
}

// TestAnnaLocalMode: one machine, one address, every role with two threads: how Anna runs locally.
func TestAnnaLocalMode(t *testing.T) {
	all := make(map[Role]int)
	for r := range numRoles {
		all[r] = 2
	}
	if err := PlanAnna.CheckShared(all); err != nil {
		t.Fatal(err)
	}
}

func TestPlanAddress(t *testing.T) {
	a, err := PlanAnna.Address("127.0.0.1", KNRequest, 3)
	if err != nil || a.String() != "tcp://127.0.0.1:6203" {
		t.Errorf("anna KN request thread 3: %v, %v", a, err)
	}
	if _, err := PlanDinomo.Address("kn1", KNRequest, 0); !errors.Is(err, ErrInvalidAddress) {
		t.Errorf("a host name: %v", err)
	}
	for _, c := range []struct {
		plan   Plan
		socket Socket
		thread int
		ok     bool
	}{
		{PlanDinomo, KNRequest, 63, true}, {PlanDinomo, KNRequest, 64, false}, {PlanDinomo, KNRequest, -1, false},
		{PlanAnna, KNRequest, 49, true}, {PlanAnna, KNRequest, 50, false},
		{PlanDinomo, KNJoin, 0, true}, {PlanDinomo, KNJoin, 1, false},
	} {
		_, err := c.plan.Port(c.socket, c.thread)
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrThreadRange)) {
			t.Errorf("%s %s thread %d: %v", c.plan, c.socket, c.thread, err)
		}
	}
}

func TestParsePlan(t *testing.T) {
	for p := range numPlans {
		if got, err := ParsePlan(p.String()); err != nil || got != p {
			t.Errorf("ParsePlan(%q) = %v, %v", p, got, err)
		}
	}
	if _, err := ParsePlan("Anna"); err == nil {
		t.Error("ParsePlan takes a name in capitals")
	}
}
