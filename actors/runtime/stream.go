package runtime

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// maxMessageFrames bounds the frames of one request or reply: an envelope of a few, the empty
// delimiter, the body.
const maxMessageFrames = 16

// stream reads and writes whole messages of several frames on one connection, for Rep and Req,
// which are not hot paths. One goroutine reads; any may write.
type stream struct {
	tcp      *net.TCPConn
	in       *bufio.Reader
	maxBytes int // of a message
	timeout  time.Duration
	budget   *byteBudget // for what a message takes beyond a chunk; nil: none
	done     <-chan struct{}
	borrowed int // from budget, by the message that was read last

	write struct {
		sync.Mutex
		buf []byte
	}
}

func newStream(tcp *net.TCPConn, maxBytes int, timeout time.Duration) *stream {
	return &stream{tcp: tcp, in: bufio.NewReaderSize(tcp, 4<<10), maxBytes: maxBytes, timeout: timeout}
}

// read returns the next message's frames, after answering the heartbeats before it. It waits
// for the first byte without limit and for the rest up to the timeout.
func (s *stream) read() (frames [][]byte, err error) {
	total := 0
	for more := true; more; {
		h, err := s.header(s.maxBytes - total)
		if err != nil {
			return nil, err
		}
		body, err := s.body(h.bodyBytes)
		if err != nil {
			return nil, err
		}
		if h.command() {
			if err := s.command(body); err != nil {
				return nil, err
			}
			if len(frames) == 0 { // back to waiting without limit
				if err := s.tcp.SetReadDeadline(time.Time{}); err != nil {
					return nil, err
				}
			}
			continue
		}
		frames, total, more = append(frames, body), total+h.bodyBytes, h.more()
		if len(frames) > maxMessageFrames {
			return nil, fmt.Errorf("%w: a message of more than %d frames", ErrProtocol, maxMessageFrames)
		}
	}
	return frames, s.tcp.SetReadDeadline(time.Time{})
}

func (s *stream) header(maxBody int) (frameHeader, error) {
	for n := 1; ; n++ {
		b, err := s.in.Peek(n)
		if err != nil {
			return frameHeader{}, unexpected(err, n > 1)
		}
		if n == 1 {
			if err := s.tcp.SetReadDeadline(clock.Real{}.Now().Add(s.timeout)); err != nil {
				return frameHeader{}, err
			}
		}
		h, err := parseFrameHeader(b, maxBody)
		if err != nil {
			return frameHeader{}, err
		}
		if h.headerBytes > 0 {
			_, err := s.in.Discard(h.headerBytes)
			return h, err
		}
	}
}

// body reads n bytes into memory that grows as they arrive. Once a chunk of it is there, the
// rest is set aside in the budget.
func (s *stream) body(n int) ([]byte, error) {
	b := make([]byte, 0, min(n, chunkBytes))
	for {
		had := len(b)
		b = b[:cap(b)]
		if _, err := io.ReadFull(s.in, b[had:]); err != nil {
			return nil, unexpected(err, true)
		}
		if len(b) == n {
			return b, nil
		}
		if had == 0 {
			if err := s.setAside(n - chunkBytes); err != nil {
				return nil, err
			}
		}
		b = append(make([]byte, 0, min(n, 2*cap(b))), b...)
	}
}

// setAside takes n bytes of the budget for the message that is being read. A message has one
// body worth speaking of; for a second large frame, what the first one has is given back first
// rather than held while waiting.
func (s *stream) setAside(n int) error {
	if s.budget == nil {
		return nil
	}
	want := s.borrowed + n
	s.settle()
	if err := s.budget.acquire(want, s.done); err != nil {
		return err
	}
	s.borrowed = want
	return s.tcp.SetReadDeadline(clock.Real{}.Now().Add(s.timeout))
}

// settle gives back what the last message borrowed.
func (s *stream) settle() {
	if s.borrowed > 0 {
		s.budget.release(s.borrowed)
		s.borrowed = 0
	}
}

// unexpected tells a peer that left in the middle of a message from one that just left.
func unexpected(err error, midMessage bool) error {
	if midMessage && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *stream) command(body []byte) error {
	name, data, ok := splitCommand(body)
	if !ok {
		return fmt.Errorf("%w: malformed command", ErrProtocol)
	}
	if string(name) != commandPing {
		return nil
	}
	pong, ok := appendPong(nil, data)
	if !ok {
		return fmt.Errorf("%w: PING with %d bytes of data", ErrProtocol, len(data))
	}
	s.write.Lock()
	defer s.write.Unlock()
	return s.put(pong)
}

// send writes a message: the envelope's frames, the empty delimiter, the body.
func (s *stream) send(envelope [][]byte, body []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	b := s.write.buf[:0]
	for _, f := range envelope {
		b = appendFrame(b, flagMore, f)
	}
	b = appendFrame(b, flagMore, nil)
	b = appendFrame(b, 0, body)
	if cap(b) <= chunkBytes {
		s.write.buf = b
	}
	return s.put(b)
}

// put writes bytes before the timeout. REQUIRES: s.write.
func (s *stream) put(b []byte) error {
	if err := s.tcp.SetWriteDeadline(clock.Real{}.Now().Add(s.timeout)); err != nil {
		return err
	}
	_, err := s.tcp.Write(b)
	return err
}

// splitEnvelope divides a message at the first empty frame.
func splitEnvelope(frames [][]byte) (envelope [][]byte, body []byte, err error) {
	for i, f := range frames {
		if len(f) > 0 {
			continue
		}
		if len(frames) != i+2 {
			return nil, nil, fmt.Errorf("%w: %d frames after the delimiter, want 1", ErrProtocol, len(frames)-i-1)
		}
		return frames[:i], frames[i+1], nil
	}
	return nil, nil, fmt.Errorf("%w: no empty delimiter frame", ErrProtocol)
}
