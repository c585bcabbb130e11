package dpmnode_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/dpmnode"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/tcp"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/messages"
)

const deadline = 20 * time.Second

// options of a small node at an address that no other test has.
func options(t *testing.T, ip string) dpmnode.Options {
	return dpmnode.Options{
		IP: ip, Pool: dpm.Options{Path: filepath.Join(t.TempDir(), "pool"), Bytes: 64 << 20, Shape: format.Shape{SegmentBytes: 1 << 20}, Sparse: true},
		Listen: func(p *dpm.Pool, o fabric.ListenOptions) (fabric.Listener, error) {
			return tcp.Listen(p.Region(), p.Service(false), o)
		},
		Logf: t.Logf,
	}
}

func TestNodeServesVerbsAndControl(t *testing.T) {
	o := options(t, "127.77.1.2")
	n, err := dpmnode.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	qp, err := tcp.Dialer{}.Dial(t.Context(), n.VerbsAddress(), fabric.DialOptions{Hello: fabric.Hello{Identity: "127.77.1.100"}})
	if err != nil {
		t.Fatal(err)
	}
	session := qp.Session()

	pull, err := runtime.ListenPull("tcp://127.77.1.9:0", runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pull.Close()
	push := runtime.NewPush("tcp://127.77.1.2:9200", runtime.PushOptions{})
	defer push.Close(0)
	ask := func(m messages.Message) messages.Message {
		t.Helper()
		frame, err := messages.ControlFrame("test", m)
		if err != nil {
			t.Fatal(err)
		}
		if err := push.Send(frame); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-pull.Batches():
			defer b.Release()
			answer, err := messages.ParseControlFrame(b.Frames[0])
			if err != nil {
				t.Fatal(err)
			}
			return answer
		case <-time.After(deadline):
			t.Fatalf("no answer to %T", m)
			return nil
		}
	}
	back := pull.Address()
	swap := &messages.MetaSwap{ResponseAddress: back, Name: ownership.RecordName, Value: []byte("map")}
	if s := ask(swap).(*messages.MetaState); !s.GetSwapped() || s.GetVersion() != 1 {
		t.Errorf("%v", s)
	}
	state := ask(&messages.PoolQuery{ResponseAddress: back}).(*messages.PoolState)
	if len(state.GetRanks()) != 1 || state.GetRanks()[0].GetPrivateIp() != "127.77.1.100" || state.GetOwnershipVersion() != 1 {
		t.Errorf("%v", state)
	}
	fence := &messages.RankFence{
		ResponseAddress: back, Rank: uint32(session.Rank), UptoIncarnation: uint64(session.Incarnation), OnlyIfUnchanged: true,
		LeaseWord: state.GetRanks()[0].GetLeaseWord() + 1,
	}
	if s := ask(fence).(*messages.RankState); s.GetFenced() || s.GetError() != "" {
		t.Errorf("fenced although its lease word is another: %v", s)
	}
	fence.LeaseWord--
	// Once the pool itself has seen the word stand still for a lease.
	s := ask(fence).(*messages.RankState)
	for until := time.Now().Add(deadline); !s.GetFenced() && s.GetError() == "" && time.Now().Before(until); {
		s = ask(fence).(*messages.RankState)
	}
	if !s.GetFenced() || s.GetError() != "" {
		t.Errorf("%v", s)
	}
	if err := qp.Post([]fabric.Verb{{Kind: fabric.Read, Address: 0, Buffer: make([]byte, 8)}}); err == nil {
		t.Error("a fenced queue pair still reads")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := dpmnode.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if blob, version, err := again.Pool().MetaGet(ownership.RecordName); err != nil || version != 1 || string(blob) != "map" {
		t.Errorf("after a restart: %q, %d, %v", blob, version, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.77.2.2:9100")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("not a pool ", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		ip     string
		change func(*dpmnode.Options)
		want   []string
	}{
		{"occupied port", "127.77.2.2", func(*dpmnode.Options) {}, []string{"127.77.2.2:9100", "in use", "stop what has it"}},
		{"IP of no interface", "192.0.2.1", func(*dpmnode.Options) {}, []string{"192.0.2.1:9100", "no interface"}},
		{"missing pool", "127.77.2.3", func(o *dpmnode.Options) { o.Pool.MustExist = true }, []string{"no pool", "dinomo.pool.path"}},
		{"foreign pool", "127.77.2.4", func(o *dpmnode.Options) { o.Pool.Path = foreign }, []string{foreign, "not a Dinomo pool", "nothing was changed"}},
		{"no directory", "127.77.2.5", func(o *dpmnode.Options) { o.Pool.Path = "/no/such/directory/pool" }, []string{"/no/such/directory"}},
		{"bad address", "nowhere", func(*dpmnode.Options) {}, []string{"nowhere", "numeric"}},
	} {
		o := options(t, c.ip)
		c.change(&o)
		n, err := dpmnode.Start(o)
		if err == nil {
			_ = n.Close()
			t.Errorf("%s: it starts", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %q", c.name, err)
		}
	}
	if text, _ := os.ReadFile(foreign); !strings.HasPrefix(string(text), "not a pool") {
		t.Error("the foreign file was changed")
	}
}
