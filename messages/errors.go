package messages

import (
	"context"
	"errors"
	"fmt"
)

// One sentinel per error of the wire. Clients get them from ErrorOf; servers return them, wrapped or not, and CodeOf finds
// the code again.
var (
	// ErrKeyDoesNotExist: a get of a key that has no value. A delete of one succeeds.
	ErrKeyDoesNotExist = errors.New("key does not exist")
	// ErrWrongThread: the thread does not own the key at present; ask again who does.
	ErrWrongThread = errors.New("wrong thread for this key: ask for its addresses again")
	// ErrTimeout: no answer in time. Whether a write took effect is unknown.
	ErrTimeout = errors.New("timed out, outcome unknown: read the key before repeating a write that must not happen twice")
	// ErrLattice: the key holds a value of another lattice type.
	ErrLattice = errors.New("key holds another lattice type: delete it first or use its type")
	// ErrNoServers: no KN serves keys.
	ErrNoServers = errors.New("no servers: start a KN")
	// ErrTooLarge: the key or value is above the configured limit.
	ErrTooLarge = errors.New("key or value too large")
	// ErrNoSpace: the pool is full; reads and deletes still work.
	ErrNoSpace = errors.New("no space in the pool: delete something or enlarge the pool")
	// ErrOverloaded: refused before anything was done.
	ErrOverloaded = errors.New("overloaded: try again later")
	// ErrInvalidRequest: the request makes no sense.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrDamaged: what the pool holds where the key lies is not what was written. Nothing was done.
	ErrDamaged = errors.New("the pool is damaged where the key lies (dinomo inspect verify says more): write or delete the key, else bring a backup back")
	// ErrUnknownCode: a peer answered with a code that this version does not know.
	ErrUnknownCode = errors.New("unknown error code")
)

// errorTable is the whole correspondence, in the order of the codes; NO_ERROR is nil.
var errorTable = [...]error{
	AnnaError_NO_ERROR:        nil,
	AnnaError_KEY_DNE:         ErrKeyDoesNotExist,
	AnnaError_WRONG_THREAD:    ErrWrongThread,
	AnnaError_TIMEOUT:         ErrTimeout,
	AnnaError_LATTICE:         ErrLattice,
	AnnaError_NO_SERVERS:      ErrNoServers,
	AnnaError_TOO_LARGE:       ErrTooLarge,
	AnnaError_NO_SPACE:        ErrNoSpace,
	AnnaError_OVERLOADED:      ErrOverloaded,
	AnnaError_INVALID_REQUEST: ErrInvalidRequest,
	AnnaError_DAMAGED:         ErrDamaged,
}

// ErrorOf returns the sentinel of a code: nil for NO_ERROR, something that wraps ErrUnknownCode for a stranger.
func ErrorOf(code AnnaError) error {
	if code < 0 || int(code) >= len(errorTable) {
		return fmt.Errorf("%w %d: the peer is newer than this program", ErrUnknownCode, int32(code))
	}
	return errorTable[code]
}

// CodeOf returns the code that tells a peer of err. An error that has no code becomes TIMEOUT: that is the code that
// promises nothing, and a write that failed for a reason of our own may or may not have happened.
func CodeOf(err error) AnnaError {
	if err == nil {
		return AnnaError_NO_ERROR
	}
	for code, sentinel := range errorTable {
		if sentinel != nil && errors.Is(err, sentinel) {
			return AnnaError(code)
		}
	}
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrInvalidAddress) {
		return AnnaError_INVALID_REQUEST
	}
	return AnnaError_TIMEOUT
}

// HasCode says whether err is one that the wire has a code for, so that CodeOf does not have to fall back on TIMEOUT.
func HasCode(err error) bool {
	return err == nil || CodeOf(err) != AnnaError_TIMEOUT || errors.Is(err, ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}
