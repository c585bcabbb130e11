package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

func testCalls(t *testing.T, b *Backend) {
	qp := start(t, b).dial()
	reply := make([]byte, 0, 64)
	for _, n := range []int{0, 1, 7, 64, 1000, 4096, 4097, 65536, fabric.MaxCallBytes - 1} {
		request := append([]byte{callEcho}, bytes.Repeat([]byte{byte(n), byte(n >> 8), 3}, n/3+1)[:n]...)
		var err error
		if reply, err = qp.Call(request, reply); err != nil {
			t.Fatalf("call with %d bytes: %v", n, err)
		}
		if !bytes.Equal(reply, request[1:]) {
			t.Fatalf("call with %d bytes: the echo differs", n)
		}
	}
	if reply, err := qp.Call(nil, nil); err != nil || len(reply) != 0 {
		t.Errorf("empty call: %d bytes, %v", len(reply), err)
	}
	roomy := make([]byte, 5, 100)
	got, err := qp.Call([]byte{callEcho, 'a', 'b'}, roomy)
	if err != nil || string(got) != "ab" || &got[0] != &roomy[0] {
		t.Errorf("reply %q, %v: it belongs into the buffer that was given", got, err)
	}
}

func testConcurrentCalls(t *testing.T, b *Backend) {
	f := start(t, b)
	f.together(4, func(i int, qp fabric.QP) error {
		var reply []byte
		for n := range 200 / b.Scale {
			request := append([]byte{callEcho}, bytes.Repeat([]byte{byte(i)}, n*37)...)
			var err error
			if reply, err = qp.Call(request, reply); err != nil {
				return err
			}
			if !bytes.Equal(reply, request[1:]) {
				t.Errorf("queue pair %d call %d: somebody else's reply", i, n)
				return nil
			}
			if err := qp.Post([]fabric.Verb{{Kind: fabric.FetchAdd, Address: uint64(i * 8), Swap: 1}}); err != nil {
				return err
			}
		}
		return nil
	})
}

func makeCall(n int) []byte { return binary.LittleEndian.AppendUint32([]byte{callMake}, uint32(n)) }

func testCallLimits(t *testing.T, b *Backend) {
	qp := start(t, b).dial()
	if _, err := qp.Call(make([]byte, fabric.MaxCallBytes+1), nil); !errors.Is(err, fabric.ErrTooLong) {
		t.Errorf("request of 1 MiB + 1: %v, want %v", err, fabric.ErrTooLong)
	}
	if reply, err := qp.Call(makeCall(fabric.MaxCallBytes), nil); err != nil || len(reply) != fabric.MaxCallBytes || reply[1001] != byte(1001*7%256) {
		t.Errorf("reply of 1 MiB: %d bytes, %v", len(reply), err)
	}
	if _, err := qp.Call(makeCall(fabric.MaxCallBytes+1), nil); !errors.Is(err, fabric.ErrTooLong) {
		t.Errorf("reply of 1 MiB + 1: %v, want %v", err, fabric.ErrTooLong)
	}
	if reply, err := qp.Call(makeCall(3), nil); err != nil || len(reply) != 3 {
		t.Errorf("the call after them: %d bytes, %v", len(reply), err)
	}
	if c := qp.Counters(); c.Calls != 2 || c.Failures != 2 {
		t.Errorf("counters %+v", c)
	}
}

func testCallTimeout(t *testing.T, b *Backend) {
	if b.Single {
		t.Skip("nothing can be held up here")
	}
	qp := start(t, b).dial(withTimeout(100 * time.Millisecond))
	if _, err := qp.Call([]byte{callHold}, nil); !errors.Is(err, fabric.ErrTimeout) {
		t.Errorf("a call that is held up: %v, want %v", err, fabric.ErrTimeout)
	}
	dead(t, qp, fabric.ErrTimeout)
}

// testCallSeesWrites: what a queue pair wrote, the DPM's processor sees when it serves its call.
func testCallSeesWrites(t *testing.T, b *Backend) {
	f := start(t, b)
	f.service.onCall = func(_, reply []byte) []byte {
		return binary.LittleEndian.AppendUint64(reply, f.region.Load64(512))
	}
	qp := f.dial()
	buffer := make([]byte, 8)
	for i := range uint64(200 / b.Scale) {
		binary.LittleEndian.PutUint64(buffer, i)
		must(t, qp, fabric.Verb{Kind: fabric.Write, Address: 512, Buffer: buffer})
		reply, err := qp.Call([]byte{callHook}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint64(reply); got != i {
			t.Fatalf("the DPM sees %d after WRITE %d", got, i)
		}
	}
}

func testBlockedCall(t *testing.T, b *Backend) {
	if b.Single {
		t.Skip("nothing can be held up here")
	}
	f := start(t, b)
	held, other := f.dial(), f.dial()
	result := make(chan error, 1)
	go func() {
		_, err := held.Call([]byte{callHold}, nil)
		result <- err
	}()
	eventually(t, "the call is being served", func() bool { return f.service.held.Load() == 1 })
	must(t, other, fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	if _, err := other.Call([]byte{callEcho, 1}, nil); err != nil {
		t.Errorf("another queue pair's call: %v", err)
	}
	must(t, f.dial(), fabric.Verb{Kind: fabric.FetchAdd, Swap: 1})
	f.service.openGate()
	if err := <-result; err != nil {
		t.Errorf("the held call: %v", err)
	}
}
