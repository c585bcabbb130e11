package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/call"
)

// nodeCall runs one call over the node's own queue pair, which it dials again when that is broken. The
// reply is handed to use while nobody else can overwrite it.
func (s *Session) nodeCall(ctx context.Context, r *call.Request, use func(*call.Reply)) error {
	s.node.Lock()
	defer s.node.Unlock()
	if err := s.dialNode(ctx); err != nil {
		return fmt.Errorf("%s: %w", r.Op, err)
	}
	reply, err := s.node.do(r)
	if err != nil && Broken(err) {
		s.dropNode()
	}
	if reply != nil {
		use(reply)
	}
	return err
}

// MetaGet reads a metadata record. It fails with ErrNoRecord when there is none.
func (s *Session) MetaGet(ctx context.Context, name string) (record []byte, version uint64, err error) {
	err = s.nodeCall(ctx, &call.Request{Op: call.MetaGet, Name: []byte(name)}, func(r *call.Reply) {
		if r.Status == call.NotFound {
			return
		}
		record, version = bytes.Clone(r.Bytes), r.Record
	})
	if err != nil && errors.Is(err, ErrNotFound) {
		return nil, 0, fmt.Errorf("%w: %q", ErrNoRecord, name)
	}
	return record, version, err
}

// MetaCAS replaces a metadata record if its version is expect (0: there is none yet) and returns the new
// version. On ErrConflict it returns the present record and version instead. After an error of the
// fabric's the outcome is unknown.
func (s *Session) MetaCAS(ctx context.Context, name string, expect uint64, record []byte) (present []byte, version uint64, err error) {
	err = s.nodeCall(ctx, &call.Request{Op: call.MetaCAS, Name: []byte(name), Expect: expect, Bytes: record}, func(r *call.Reply) {
		present, version = bytes.Clone(r.Bytes), r.Record
	})
	return present, version, err
}

// Stats asks for the pool's figures, in the order of dpm.Stats.
func (s *Session) Stats(ctx context.Context) (counts []uint64, err error) {
	err = s.nodeCall(ctx, &call.Request{Op: call.Stats}, func(r *call.Reply) { counts = append(counts, r.Counts...) })
	return counts, err
}
