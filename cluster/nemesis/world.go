package nemesis

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// world is the running cluster as the nemesis sees it.
type world struct {
	o       *Options
	cluster *cluster.Cluster
	asker   *cluster.Asker
	links   *links // nil: links cannot be cut
	keys    *keys
	clients []string // the clients' IPs
}

// process is a node that runs.
type process struct {
	ip  string
	pid int
}

// kns asks the management node which KNs run.
func (w *world) kns(ctx context.Context) ([]process, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	report, err := w.cluster.ManagerStatus(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotNow, err)
	}
	var running []process
	for _, n := range report.GetNodes() {
		if n.GetKind() == string(messages.KindMemory) && n.GetState() == "running" && n.GetPid() != 0 {
			running = append(running, process{n.GetPrivateIp(), int(n.GetPid())})
		}
	}
	return running, nil
}

// kn picks a KN that runs.
func (w *world) kn(ctx context.Context, word uint64) (process, error) {
	running, err := w.kns(ctx)
	if err != nil {
		return process{}, err
	}
	one, ok := pick(word, running)
	if !ok {
		return one, errNotNow
	}
	return one, nil
}

// started returns a node that the cluster itself keeps running: all but KNs.
func (w *world) started(ip string) (process, error) {
	if pid := w.cluster.Process(ip); pid != 0 {
		return process{ip, pid}, nil
	}
	return process{}, fmt.Errorf("%w: %s does not run", errNotNow, ip)
}

// signal sends a signal to a process, which may be gone meanwhile.
func signal(p process, s syscall.Signal) error {
	if err := syscall.Kill(p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to %s: %w", s, p.ip, err)
	}
	return nil
}

// churn tells the management node to add or remove nodes. It may be away: then the order waits for it.
func (w *world) churn(c messages.Churn) error {
	to, err := w.cluster.Plan().Address(w.o.Network.Manage(), messages.ManageChurn, 0)
	if err != nil {
		return err
	}
	return w.asker.SendFrame(to.String(), []byte(c.String()))
}

// send sends a control message to a node.
func (w *world) send(ip string, s messages.Socket, m messages.Message) error {
	to, err := w.cluster.Plan().Address(ip, s, 0)
	if err != nil {
		return err
	}
	return w.asker.Send(to.String(), m)
}

// restore brings the number of KNs back to what it was at first.
func (w *world) restore(ctx context.Context) error {
	for ctx.Err() == nil {
		running, err := w.kns(ctx)
		switch missing := w.o.KNs - len(running); {
		case err != nil:
		case missing <= 0:
			return nil
		default:
			err = w.churn(messages.Churn{Action: messages.ChurnAdd, Count: missing, Kind: messages.KindMemory})
		}
		if err != nil {
			w.o.Logf("restore: %v", err)
		}
		clock.Real{}.Sleep(500 * time.Millisecond)
	}
	return ctx.Err()
}
