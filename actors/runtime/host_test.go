package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// counter is the test actor: it counts what it sees and obeys short commands.
//
//	frame "to <address> <text>"   sends the text
//	frame "boom"                  panics
//	frame "tell <actor> <text>"   tells
//	frame "ask <address> <text>"  requests
//	frame "later <text>"          is told so by a timer
//	request "hold"                is answered at the next tick; any other with itself
type counter struct {
	seen func(string)
	held []ReplyTo
}

func (c *counter) Step(now time.Time, in Message, out *Outbox) {
	if in.Kind == KindTick {
		for _, to := range c.held {
			out.Reply(to, []byte("held"))
		}
		c.held = nil
		c.seen("tick")
		return
	}
	text := string(in.Frame)
	switch in.Kind {
	case KindTold, KindTimer:
		text = fmt.Sprint(in.Body)
	case KindReply:
		text = fmt.Sprintf("%v=%s", in.Body, in.Frame)
		if in.Err != nil {
			text = fmt.Sprintf("%v failed", in.Body)
		}
	case KindRequest:
		if text == "hold" {
			c.held = append(c.held, in.ReplyTo)
		} else {
			out.Reply(in.ReplyTo, in.Frame)
		}
	}
	c.seen(strings.TrimSpace(fmt.Sprintf("%v %s%s %s", in.Kind, in.Socket, in.From, text)))
	words := append(strings.SplitN(text, " ", 3), "", "")
	if in.Kind != KindFrame {
		return
	}
	switch words[0] {
	case "boom":
		panic("as told")
	case "to":
		out.Send(words[1], []byte(words[2]))
	case "tell":
		out.Tell(words[1], words[2])
	case "ask":
		out.Request(words[1], []byte(words[2]), 10*time.Second, words[2])
	case "later":
		out.After(5*time.Millisecond, words[1])
	}
}

// journal collects what counters see, from any goroutine.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(actor string) func(string) {
	return func(line string) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, actor+": "+line)
	}
}

func (j *journal) has(line string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if l == line {
			return true
		}
	}
	return false
}

func (j *journal) count(part string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

// stageWorld is a Stage under the suite that Host and SimHost share.
type stageWorld struct {
	stage    Stage
	outside  Transport // another node
	ip, away string
	until    func(what string, ok func() bool)
	panics   func() int
}

func hostWorld(t *testing.T) *stageWorld {
	inside, outside := NewTCP(TCPOptions{}), NewTCP(TCPOptions{})
	h := NewHost(HostOptions{Transport: inside, Logf: t.Logf})
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		inside.Close()
		outside.Close()
	})
	return &stageWorld{stage: h, outside: outside, ip: "127.0.8.1", away: "127.0.8.2",
		until:  func(what string, ok func() bool) { t.Helper(); eventually(t, what, ok) },
		panics: func() int { return int(h.Metrics().Restarts) }}
}

func simHostWorld(t *testing.T) *stageWorld {
	net := NewSimNet(random.Seed(t), SimOptions{})
	h := NewSimHost(net, "10.0.0.1")
	return &stageWorld{stage: h, outside: net.Node("10.0.0.2"), ip: "10.0.0.1", away: "10.0.0.2",
		until: func(what string, ok func() bool) {
			t.Helper()
			if !net.RunUntil(time.Hour, ok) {
				t.Fatalf("never happened: %s", what)
			}
		},
		panics: func() int { return len(h.Panics) }}
}

func TestStages(t *testing.T) {
	for name, world := range map[string]func(*testing.T) *stageWorld{"host": hostWorld, "sim": simHostWorld} {
		t.Run(name, func(t *testing.T) { stageSuite(t, world(t)) })
	}
}

func stageSuite(t *testing.T, w *stageWorld) {
	var j journal
	for _, name := range []string{"a", "b"} {
		if err := w.stage.Spawn(name, func() Actor { return &counter{seen: j.add(name)} }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.stage.Spawn("a", nil); err == nil {
		t.Error("two actors of one name")
	}
	in, err := w.stage.Bind("a", "in", "tcp://"+w.ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	ask, err := w.stage.BindReply("b", "ask", "tcp://"+w.ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	var bag mailbag
	away := mustListen(t, w.outside, "tcp://"+w.away+":0", bag.deliver)
	send := func(format string, args ...any) {
		t.Helper()
		mustSend(t, w.outside, in, fmt.Appendf(nil, format, args...))
		w.outside.Flush()
	}
	sees := func(line string) { t.Helper(); w.until(line, func() bool { return j.has(line) }) }

	sees("a: started")
	send("to %s hello there", away)
	w.until("a frame outside", func() bool { return len(bag.all()) == 1 })
	if got := string(bag.all()[0]); got != "hello there" {
		t.Errorf("sent %q", got)
	}
	send("tell b news for you")
	sees("b: told a news for you")
	send("later on")
	sees("a: timer  on")
	send("ask %s question", ask)
	sees("b: request ask question")
	sees("a: reply  question=question")
	send("ask tcp://localhost:1 impossible")
	sees("a: reply  impossible failed")

	// An answer may come at a later step.
	var o outcome
	if err := w.outside.Request(ask, []byte("hold"), time.Minute, o.done); err != nil {
		t.Fatal(err)
	}
	sees("b: request ask hold")
	if err := w.stage.Tick("b", 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	w.until("the held reply", o.called)
	if string(o.reply) != "held" || o.err != nil {
		t.Errorf("%q, %v", o.reply, o.err)
	}
	w.until("several ticks", func() bool { return j.count("b: tick") >= 3 })

	// A panic costs the message, the state and the timers; what follows is handled (HOST-1).
	send("later never")
	send("boom")
	send("still here")
	sees("a: frame in still here")
	if j.count("a: started") != 2 || w.panics() != 1 {
		t.Errorf("%d starts, %d panics", j.count("a: started"), w.panics())
	}
	if err := w.stage.Tell("a", "from outside"); err != nil {
		t.Fatal(err)
	}
	sees("a: told  from outside")
	ticks := j.count("b: tick")
	w.until("time passes", func() bool { return j.count("b: tick") > ticks+3 })
	if j.has("a: timer  never") {
		t.Error("a timer of the failed incarnation fired")
	}
	for name, err := range map[string]error{
		"Tell": w.stage.Tell("nobody", 1),
		"Tick": w.stage.Tick("nobody", time.Second),
		"Bind": func() error { _, err := w.stage.Bind("nobody", "x", "tcp://"+w.ip+":0"); return err }(),
	} {
		if !errors.Is(err, ErrNoActor) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.stage.Tick("a", 0); err == nil {
		t.Error("a period of 0")
	}
}

// blocker is an actor that waits inside Step, as none should, so that a mailbox fills.
type blocker struct {
	enter chan struct{}
	leave chan struct{}
	seen  func(string)
}

func (b *blocker) Step(_ time.Time, in Message, _ *Outbox) {
	if in.Kind == KindStarted {
		return
	}
	b.enter <- struct{}{}
	<-b.leave
	b.seen(fmt.Sprint(in.Body, string(in.Frame)))
}

func TestFullMailbox(t *testing.T) {
	var j journal
	tcp := NewTCP(TCPOptions{})
	h := NewHost(HostOptions{Transport: tcp, MailboxMessages: 5})
	b := &blocker{enter: make(chan struct{}, 1000), leave: make(chan struct{}), seen: j.add("b")}
	if err := h.Spawn("b", func() Actor { return b }); err != nil {
		t.Fatal(err)
	}
	in, err := h.Bind("b", "in", "tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := h.Tell("b", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Tell("b", 5); !errors.Is(err, ErrMailboxFull) {
		t.Fatalf("the sixth: %v", err)
	}
	if m := h.Metrics(); m.MailboxFull != 1 || m.Waiting != 5 {
		t.Errorf("metrics %+v", m)
	}
	if err := h.Tick("b", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a tick is refused", func() bool { return h.Metrics().MailboxFull > 1 })
	// Frames wait instead: none is lost.
	push := newPush(t, in, PushOptions{})
	for i := range 50 {
		push.Send(fmt.Appendf(nil, " frame %d", i))
	}
	close(b.leave)
	eventually(t, "all frames are handled", func() bool { return j.count("frame") == 50 })
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	tcp.Close()
}

func TestStopHandlesWhatIsQueued(t *testing.T) {
	var j journal
	tcp := NewTCP(TCPOptions{})
	defer tcp.Close()
	h := NewHost(HostOptions{Transport: tcp})
	if err := h.Spawn("a", func() Actor { return &counter{seen: j.add("a")} }); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := h.Tell("a", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := j.count("told"); n != 1000 {
		t.Errorf("%d of 1000 messages were handled", n)
	}
	if err := h.Tell("a", "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("Tell after Stop: %v", err)
	}
	if err := h.Spawn("c", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Spawn after Stop: %v", err)
	}
	if err := h.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

// panicker panics at everything.
type panicker struct{}

func (panicker) Step(time.Time, Message, *Outbox) { panic("always") }

func TestAnActorThatOnlyPanics(t *testing.T) {
	tcp := NewTCP(TCPOptions{})
	defer tcp.Close()
	var j journal
	h := NewHost(HostOptions{Transport: tcp, RestartPauseMax: 2 * time.Millisecond})
	for name, factory := range map[string]func() Actor{
		"bad":  func() Actor { return panicker{} },
		"good": func() Actor { return &counter{seen: j.add("good")} },
	} {
		if err := h.Spawn(name, factory); err != nil {
			t.Fatal(err)
		}
	}
	// Protoactor's default strategy would have stopped it by then.
	eventually(t, "twenty restarts", func() bool { return h.Metrics().Restarts >= 20 })
	h.Tell("good", "still alive")
	eventually(t, "others work", func() bool { return j.has("good: told  still alive") })
	if err := h.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestStopNamesWhoHangs(t *testing.T) {
	tcp := NewTCP(TCPOptions{})
	defer tcp.Close()
	h := NewHost(HostOptions{Transport: tcp, StopTimeout: 10 * time.Millisecond})
	b := &blocker{enter: make(chan struct{}, 10), leave: make(chan struct{}), seen: func(string) {}}
	if err := h.Spawn("stuck", func() Actor { return b }); err != nil {
		t.Fatal(err)
	}
	h.Tell("stuck", 1)
	<-b.enter
	if err := h.Stop(); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("Stop: %v", err)
	}
	close(b.leave)
}

func TestHostOnAManualClock(t *testing.T) {
	c := clock.NewManual(time.Unix(1000, 0))
	tcp := NewTCP(TCPOptions{})
	defer tcp.Close()
	var j journal
	h := NewHost(HostOptions{Transport: tcp, Clock: c})
	if err := h.Spawn("a", func() Actor { return &counter{seen: j.add("a")} }); err != nil {
		t.Fatal(err)
	}
	if err := h.Tick("a", time.Minute); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has started", func() bool { return j.has("a: started") })
	for n := 1; n <= 3; n++ {
		c.Advance(time.Minute)
		eventually(t, "a tick", func() bool { c.Advance(0); return j.count("tick") == n })
	}
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
}

// TestHostAnswersLibzmqREQ goes the whole way from a REQ socket through an actor and back.
func TestHostAnswersLibzmqREQ(t *testing.T) {
	w := hostWorld(t)
	var j journal
	if err := w.stage.Spawn("a", func() Actor { return &counter{seen: j.add("a")} }); err != nil {
		t.Fatal(err)
	}
	ask, err := w.stage.BindReply("a", "ask", "tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startZMQ(t, "REQ", "connect", ask)
	p.do("send 7 100")
	p.do("recv 7 100")
	p.expect("ok")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if got, err := Request(ctx, ask, []byte("us"), ReqOptions{}); err != nil || string(got) != "us" {
		t.Errorf("%q, %v", got, err)
	}
}
