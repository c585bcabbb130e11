package runtime

import (
	"encoding/binary"
	"fmt"
)

// A ZMTP 3 frame on the wire:
//
//	short  | flags | size (1 byte)                | body |
//	long   | flags | size (8 bytes, big endian)   | body |
//
// flags: bit 0 MORE (another frame of the same message follows), bit 1 LONG, bit 2 COMMAND
// (never together with MORE); the rest must be zero.
const (
	flagMore     = 0x01
	flagLong     = 0x02
	flagCommand  = 0x04
	flagsInvalid = ^byte(flagMore | flagLong | flagCommand)

	shortHeaderBytes = 2
	longHeaderBytes  = 9
	shortBodyBytes   = 255 // the largest body of a short frame

	// maxCommandBytes bounds a command's body. The longest that a peer of ours may send after
	// the handshake is a PING with 16 bytes of context; ERROR carries up to 255.
	maxCommandBytes = 1024
)

// frameHeader is a decoded frame header. The zero value means "not complete yet".
type frameHeader struct {
	flags       byte
	headerBytes int
	bodyBytes   int
}

func (h frameHeader) more() bool    { return h.flags&flagMore != 0 }
func (h frameHeader) command() bool { return h.flags&flagCommand != 0 }
func (h frameHeader) total() int    { return h.headerBytes + h.bodyBytes }

// parseFrameHeader decodes the header at the start of b. It returns a zero header when b is
// too short to tell, and ErrProtocol or ErrFrameTooLarge as soon as the bytes at hand prove
// the frame unacceptable: it never waits for bytes that a valid peer would not send.
func parseFrameHeader(b []byte, maxBodyBytes int) (frameHeader, error) {
	if len(b) == 0 {
		return frameHeader{}, nil
	}
	flags := b[0]
	if flags&flagsInvalid != 0 || flags&(flagMore|flagCommand) == flagMore|flagCommand {
		return frameHeader{}, fmt.Errorf("%w: frame flags 0x%02x", ErrProtocol, flags)
	}
	h := frameHeader{flags: flags, headerBytes: shortHeaderBytes}
	var body uint64
	switch {
	case flags&flagLong == 0:
		if len(b) < shortHeaderBytes {
			return frameHeader{}, nil
		}
		body = uint64(b[1])
	default:
		if len(b) < longHeaderBytes {
			return frameHeader{}, nil
		}
		body, h.headerBytes = binary.BigEndian.Uint64(b[1:]), longHeaderBytes
	}
	limit := maxBodyBytes
	if h.command() {
		limit = min(limit, maxCommandBytes)
	}
	if body > uint64(limit) {
		return frameHeader{}, fmt.Errorf("%w: a peer announces %d bytes, the limit is %d", ErrFrameTooLarge, body, limit)
	}
	h.bodyBytes = int(body)
	return h, nil
}

// frameBytes returns what a body of that size occupies on the wire.
func frameBytes(bodyBytes int) int {
	if bodyBytes > shortBodyBytes {
		return longHeaderBytes + bodyBytes
	}
	return shortHeaderBytes + bodyBytes
}

// putFrameHeader writes a frame's header to the start of b and returns its size.
func putFrameHeader(b []byte, flags byte, bodyBytes int) int {
	if bodyBytes > shortBodyBytes {
		b[0] = flags | flagLong
		binary.BigEndian.PutUint64(b[1:], uint64(bodyBytes))
		return longHeaderBytes
	}
	b[0], b[1] = flags, byte(bodyBytes)
	return shortHeaderBytes
}

// appendFrame appends a whole frame to b.
func appendFrame(b []byte, flags byte, body []byte) []byte {
	var header [longHeaderBytes]byte
	n := putFrameHeader(header[:], flags, len(body))
	b = append(b, header[:n]...)
	return append(b, body...)
}

// Commands that occur after the handshake. A command's body is: name length (1 byte), name,
// data. PING's data is a time to live (2 bytes) and up to 16 bytes of context that the PONG
// repeats.
const (
	commandPing         = "PING"
	commandPong         = "PONG"
	pingTTLBytes        = 2
	pingMaxContextBytes = 16
)

// splitCommand returns a command's name and data; ok is false when the name overruns the body.
func splitCommand(body []byte) (name, data []byte, ok bool) {
	if len(body) == 0 || int(body[0]) > len(body)-1 {
		return nil, nil, false
	}
	n := int(body[0])
	return body[1 : 1+n], body[1+n:], true
}

// appendPong appends the frame that answers a PING with that data; ok is false when the data
// is none that a PING may have.
func appendPong(b, pingData []byte) (frame []byte, ok bool) {
	if len(pingData) < pingTTLBytes || len(pingData) > pingTTLBytes+pingMaxContextBytes {
		return b, false
	}
	context := pingData[pingTTLBytes:]
	b = append(b, flagCommand, byte(1+len(commandPong)+len(context)), byte(len(commandPong)))
	b = append(b, commandPong...)
	return append(b, context...), true
}

// appendPing appends a PING frame whose time to live is in tenths of a second.
func appendPing(b []byte, ttlDeciseconds uint16) []byte {
	b = append(b, flagCommand, byte(1+len(commandPing)+pingTTLBytes), byte(len(commandPing)))
	b = append(b, commandPing...)
	return binary.BigEndian.AppendUint16(b, ttlDeciseconds)
}
