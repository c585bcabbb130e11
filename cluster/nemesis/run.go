package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/history"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// Names of files in Options.Directory: the history, the report, and what happened when.
const (
	HistoryFile = "history.jsonl"
	ReportFile  = "report.json"
	LogFile     = "nemesis.log"
)

// clientNodes is how many clients there are, each with an IP of its own; the workers share them.
const clientNodes = 4

// run is one run under way.
type run struct {
	o        Options
	w        *world
	schedule *schedule
	recorder *history.Recorder
	clients  []*client.Client
	log      eventLog
	unserved []string
}

// Run starts a cluster, breaks it for a while, and checks what its clients saw. The error is about the run itself; what the run
// found is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := makeEmpty(o.Directory); err != nil {
		return nil, err
	}
	logf, closeLog, err := logTo(filepath.Join(o.Directory, LogFile), o.Logf)
	if err != nil {
		return nil, err
	}
	defer closeLog()
	o.Logf = logf
	if Isolated() {
		if err := raiseLoopback(); err != nil {
			return nil, err
		}
	}
	cut, cutErr := newLinks()
	if cutErr != nil && !errors.Is(cutErr, ErrNoFilter) {
		return nil, cutErr
	}
	r := &run{o: o}
	if r.schedule, err = newSchedule(&r.o, random.New(o.Seed), cut != nil); err != nil {
		return nil, err
	}
	o.Logf("seed %d: %s", o.Seed, &o)
	if cut == nil {
		o.Logf("faults left out: cut-*: %v", cutErr)
	}
	r.w = &world{o: &r.o, links: cut, keys: &keys{cold: o.Keys}}
	if err := r.play(ctx); err != nil {
		return nil, fmt.Errorf("%w (seed %d; logs and history are in %s)", err, o.Seed, o.Directory)
	}
	return r.report(ctx)
}

// logTo makes a Logf that writes to a file, too.
func logTo(path string, logf func(string, ...any)) (both func(string, ...any), closeLog func() error, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	lines := log.New(f, "", log.Ldate|log.Ltime|log.Lmicroseconds)
	return func(format string, args ...any) {
		lines.Printf(format, args...)
		logf(format, args...)
	}, f.Close, nil
}

// makeEmpty makes a directory, or finds that it is empty.
func makeEmpty(directory string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("look into the directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: the run needs a directory of its own", directory)
	}
	return nil
}

// play is the run from the cluster's start to its end.
func (r *run) play(ctx context.Context) (err error) {
	file, err := os.Create(filepath.Join(r.o.Directory, HistoryFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r.w.cluster, err = cluster.Up(ctx, cluster.UpOptions{
		Topology: cluster.Topology{
			Network: r.o.Network, KNs: r.o.KNs, Routes: r.o.Routes, Monitors: r.o.Monitors,
			Invocation: cluster.Invocation{Set: r.o.configuration()},
		},
		Binary: r.o.Binary, Logf: r.o.Logf, MaxRestarts: mostRestarts,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.w.cluster.Close()) }()
	if r.w.asker, err = cluster.NewAsker(r.o.Network.Tool(1), nil); err != nil {
		return err
	}
	defer r.w.asker.Close()
	if err := r.connect(); err != nil {
		return err
	}
	defer r.disconnect()
	r.recorder = history.NewRecorder(file, clock.Real{})
	stop := make(chan struct{})
	var working sync.WaitGroup
	pause := time.Duration(float64(time.Second) * float64(r.o.Clients) / float64(r.o.Rate))
	for i := range r.o.Clients {
		w := newWorker(i, r.clients[i%len(r.clients)], r.recorder, r.w.keys, r.o.Seed, pause)
		working.Go(func() { w.run(stop) })
	}
	err = r.faults(ctx)
	close(stop)
	working.Wait()
	if err == nil {
		err = r.finalReads(ctx)
	}
	return errors.Join(err, r.recorder.Flush())
}

// mostRestarts is how often a node may be killed within a minute: more often than any choice of faults does it.
const mostRestarts = 1000

// connect makes the clients.
func (r *run) connect() error {
	t := r.w.cluster.Topology()
	routing, err := t.Routing(r.w.cluster.Plan(), r.w.cluster.Conf().Threads.Routing)
	if err != nil {
		return err
	}
	for i := range clientNodes {
		ip := r.o.Network.Tool(2 + i)
		c, err := client.New(client.Options{
			Routing: routing, IP: ip, LocalIP: cluster.DialFrom(ip), AnyPort: true, NoRetry: true, SpreadWrites: true,
			AttemptTimeout: 500 * time.Millisecond, Seed: r.o.Seed + uint64(i),
		})
		if err != nil {
			return err
		}
		r.clients = append(r.clients, c)
		r.w.clients = append(r.w.clients, ip)
	}
	return nil
}

func (r *run) disconnect() {
	for _, c := range r.clients {
		_ = c.Close()
	}
}

// readTogether is how many keys the final reads ask for at a time.
const readTogether = 32

// finalReads reads every key until it is served, and records what was read.
func (r *run) finalReads(ctx context.Context) error {
	all := r.w.keys.all()
	within, cancel := context.WithTimeout(ctx, r.o.ServedWithin)
	defer cancel()
	w := newWorker(r.o.Clients, r.clients[0], r.recorder, r.w.keys, r.o.Seed, 0)
	for from := 0; from < len(all); from += readTogether {
		r.o.Progress("final reads", float64(from)/float64(len(all)))
		some := all[from:min(from+readTogether, len(all))]
		for len(some) > 0 {
			if some = w.readUntilServed(some); within.Err() != nil {
				r.unserved = append(r.unserved, some...)
				break
			}
		}
	}
	return context.Cause(ctx)
}
