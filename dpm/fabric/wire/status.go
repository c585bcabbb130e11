package wire

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Status is how an error travels.
type Status uint8

// The statuses. Values are part of the protocol.
const (
	OK          Status = 0
	Refused     Status = 1
	WrongPool   Status = 2
	Fenced      Status = 3
	Bounds      Status = 4
	Misaligned  Status = 5
	Permission  Status = 6
	TooLong     Status = 7
	UnknownVerb Status = 8
	ReadOnly    Status = 9
	statuses    Status = 10
)

var sentinels = [statuses]error{
	Refused:     fabric.ErrRefused,
	WrongPool:   fabric.ErrWrongPool,
	Fenced:      fabric.ErrFenced,
	Bounds:      fabric.ErrBounds,
	Misaligned:  fabric.ErrMisaligned,
	Permission:  fabric.ErrPermission,
	TooLong:     fabric.ErrTooLong,
	UnknownVerb: fabric.ErrUnknownVerb,
	ReadOnly:    pmem.ErrReadOnly,
}

// StatusOf returns the status of the first sentinel that err wraps; Refused for any other error.
func StatusOf(err error) Status {
	if err == nil {
		return OK
	}
	for s, sentinel := range sentinels {
		if sentinel != nil && errors.Is(err, sentinel) {
			return Status(s)
		}
	}
	return Refused
}

// Err returns the status' sentinel: nil for OK, ErrBadFrame for a number that is none.
func (s Status) Err() error {
	if s >= statuses {
		return fmt.Errorf("status %d: %w", uint8(s), ErrBadFrame)
	}
	return sentinels[s]
}
