package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
)

// FuzzResults: whatever a listener answers to a batch, the client takes it for results of verbs that it posted, or for an end of
// the queue pair.
func FuzzResults(f *testing.F) {
	const sequence = 7
	answer := func(count int, status wire.Status, body []byte) []byte {
		b := make([]byte, wire.HeaderBytes+len(body)+wire.TrailerBytes)
		wire.Header{Op: wire.OpBatch, Count: uint16(count), Status: status, Sequence: sequence}.Put(b)
		copy(b[wire.HeaderBytes:], body)
		wire.PutTrailer(b[wire.HeaderBytes+len(body):], sequence)
		return b
	}
	f.Add(answer(4, 0, make([]byte, 5+8+8+8)))
	f.Add(answer(4, 0, append(make([]byte, 5+8+8), binary.LittleEndian.AppendUint64(nil, 1)...)))
	f.Add(answer(1, 1, make([]byte, 5)))
	f.Add(answer(9, 0, nil))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		verbs := []fabric.Verb{
			{Kind: fabric.Read, Buffer: make([]byte, 5)}, {Kind: fabric.CAS}, {Kind: fabric.FetchAdd}, {Kind: fabric.Flush},
		}
		c := &Client{in: bufio.NewReader(bytes.NewReader(input)), sequence: sequence}
		executed, failed, err := c.readResults(verbs)
		switch {
		case err != nil:
		case executed < 0 || executed > len(verbs), (executed == len(verbs)) != (failed == nil):
			t.Errorf("%d of %d verbs done, failure %v", executed, len(verbs), failed)
		}
	})
}
