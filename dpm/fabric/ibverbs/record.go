package ibverbs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/stream"
	"github.com/dinomo-kv/dinomo/dpm/fabric/wire"
)

// A record is what the two ends tell each other before there is a queue pair between them: in rdma_cm's private
// data, or over the set-up socket with the link behind it. Little-endian:
//
//	0   "DNMR"        8   rank:u32          32  qpn:u32      44  gid:16
//	4   version:u16   12  incarnation:u32   36  psn:u32      60  mtu:u8
//	6   thread:u16    16  pool:16           40  lid:u16      61  reads:u8
//	                                        42  0:u16        62  hasGID:u8   63  0
type record struct {
	version     uint16
	thread      uint16
	rank        fabric.Rank
	incarnation fabric.Incarnation
	pool        fabric.PoolID
}

// link is how packets reach a queue pair.
type link struct {
	qpn, psn uint32 // 24 bits
	lid      uint16
	gid      [16]byte
	hasGID   bool
	mtu      uint8 // ibv_mtu, 1 to 5
	reads    uint8 // outstanding READs and atomics, 1 to 16
}

const (
	recordBytes  = 32 // rdma_cm offers 56
	recordPrefix = 6  // mark and version
	linkBytes    = 32
)

var recordMagic = [4]byte{'D', 'N', 'M', 'R'}

var errBadRecord = errors.New("malformed RDMA set-up record")

// record is what a dialler with these options says of itself.
func (o *Options) record(h fabric.Hello) record {
	version := o.private.version
	if version == 0 {
		version = wire.Version
	}
	return record{version: version, thread: h.Thread, rank: h.Rank, incarnation: h.Incarnation, pool: h.Pool}
}

func (r *record) hello() fabric.Hello {
	return fabric.Hello{Thread: r.thread, Rank: r.rank, Incarnation: r.incarnation, Pool: r.pool}
}

// append encodes what fits rdma_cm's private data.
func (r *record) append(b []byte) []byte {
	b = append(b, recordMagic[:]...)
	b = binary.LittleEndian.AppendUint16(b, r.version)
	b = binary.LittleEndian.AppendUint16(b, r.thread)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.rank))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.incarnation))
	return append(b, r.pool[:]...)
}

func (l *link) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, l.qpn)
	b = binary.LittleEndian.AppendUint32(b, l.psn)
	b = binary.LittleEndian.AppendUint16(b, l.lid)
	b = append(b, 0, 0)
	b = append(b, l.gid[:]...)
	hasGID := byte(0)
	if l.hasGID {
		hasGID = 1
	}
	return append(b, l.mtu, l.reads, hasGID, 0)
}

// checkPrefix judges the part of a record that is the same in every version.
func checkPrefix(b []byte) error {
	if len(b) < recordPrefix || [4]byte(b) != recordMagic {
		return fmt.Errorf("%d bytes that start with % x: %w", len(b), b[:min(4, len(b))], errBadRecord)
	}
	if version := binary.LittleEndian.Uint16(b[4:]); version != wire.Version {
		return fmt.Errorf("peer speaks fabric protocol %d, this is %d (both ends must be of one version): %w", version, wire.Version, fabric.ErrWrongPool)
	}
	return nil
}

// parseRecord decodes and checks the part without the link. Bytes behind it, which rdma_cm pads with, do not count.
func parseRecord(b []byte) (record, error) {
	if err := checkPrefix(b); err != nil {
		return record{}, err
	}
	if len(b) < recordBytes {
		return record{}, fmt.Errorf("record of %d bytes: %w", len(b), errBadRecord)
	}
	r := record{
		version:     binary.LittleEndian.Uint16(b[4:]),
		thread:      binary.LittleEndian.Uint16(b[6:]),
		rank:        fabric.Rank(binary.LittleEndian.Uint32(b[8:])),
		incarnation: fabric.Incarnation(binary.LittleEndian.Uint32(b[12:])),
		pool:        fabric.PoolID(b[16:32]),
	}
	if r.rank >= fabric.MaxRanks {
		return r, fmt.Errorf("rank %d: %w", r.rank, errBadRecord)
	}
	return r, nil
}

func parseLink(b []byte) (link, error) {
	if len(b) != linkBytes {
		return link{}, fmt.Errorf("link of %d bytes: %w", len(b), errBadRecord)
	}
	l := link{
		qpn:    binary.LittleEndian.Uint32(b),
		psn:    binary.LittleEndian.Uint32(b[4:]),
		lid:    binary.LittleEndian.Uint16(b[8:]),
		gid:    [16]byte(b[12:28]),
		mtu:    b[28],
		reads:  b[29],
		hasGID: b[30] == 1,
	}
	if l.qpn >= 1<<24 || l.psn >= 1<<24 || l.mtu < 1 || l.mtu > 5 || l.reads < 1 || l.reads > 16 || b[30] > 1 || b[10]|b[11]|b[31] != 0 {
		return l, fmt.Errorf("link % x: %w", b, errBadRecord)
	}
	return l, nil
}

// A verdict is the listener's answer to a record: OK, or why not.
//
//	status:u8 textBytes:u8 | text
const maxVerdictBytes = 148 // what rdma_cm lets a rejection carry

func appendVerdict(b []byte, err error) []byte {
	if err == nil {
		return append(b, byte(wire.OK), 0)
	}
	text := err.Error()
	text = text[:min(len(text), maxVerdictBytes-2)]
	return append(append(b, byte(wire.StatusOf(err)), byte(len(text))), text...)
}

// readVerdict reads a verdict from a connection, and returns what parseVerdict does.
func readVerdict(r io.Reader) error {
	var b [2 + math.MaxUint8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return err
	}
	if err := checkVerdict(b[0]); err != nil { // another fabric's; who knows how long its answer is
		return err
	}
	whole := b[:2+int(b[1])]
	if _, err := io.ReadFull(r, whole[2:]); err != nil {
		return err
	}
	return parseVerdict(whole)
}

// parseVerdict returns nil for OK, the listener's error, or errBadRecord.
func parseVerdict(b []byte) error {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return fmt.Errorf("verdict of %d bytes: %w", len(b), errBadRecord)
	}
	if err := checkVerdict(b[0]); err != nil {
		return err
	}
	status := wire.Status(b[0])
	if status == wire.OK {
		return nil
	}
	return stream.Refusal(string(b[2:2+int(b[1])]), status.Err())
}

// checkVerdict says whether an answer that starts with this byte can be a verdict at all.
func checkVerdict(first byte) error {
	if errors.Is(wire.Status(first).Err(), wire.ErrBadFrame) {
		return fmt.Errorf("the answer starts with %#x and is no verdict: %w", first, errBadRecord)
	}
	return nil
}

// grant is the extra part of the answer to an admitted peer: where the pool is.
//
//	base:u64 rkey:u32 persist:u8 0:3
type grant struct {
	base    uint64
	rkey    uint32
	persist Persist
}

const grantBytes = 16

func (g grant) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, g.base)
	b = binary.LittleEndian.AppendUint32(b, g.rkey)
	persist := byte(0)
	if g.persist == ByRead {
		persist = 1
	}
	return append(b, persist, 0, 0, 0)
}

func parseGrant(b []byte) (grant, error) {
	if len(b) != grantBytes || b[12] > 1 || [3]byte(b[13:]) != [3]byte{} {
		return grant{}, fmt.Errorf("grant % x: %w", b, wire.ErrBadFrame)
	}
	g := grant{base: binary.LittleEndian.Uint64(b), rkey: binary.LittleEndian.Uint32(b[8:]), persist: ByProcessor}
	if b[12] == 1 {
		g.persist = ByRead
	}
	return g, nil
}
