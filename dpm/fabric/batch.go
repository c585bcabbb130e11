package fabric

import "fmt"

// Prefix returns how many leading verbs a queue pair with this access to a pool of poolBytes may
// execute, and the sentinel that keeps the next one out (nil when all may). Backends call it before
// they touch anything, so that a wrong range costs an error and not the queue pair, as it would
// on RDMA hardware.
func Prefix(verbs []Verb, poolBytes uint64, access Access) (int, error) {
	if len(verbs) > MaxBatch {
		return 0, ErrTooLong
	}
	total := uint64(0)
	for i := range verbs {
		v := &verbs[i]
		length := v.Length
		if v.Kind == Read || v.Kind == Write {
			length = uint64(len(v.Buffer))
			total += length
			if total > MaxBatchBytes {
				return i, ErrTooLong
			}
		}
		if err := Check(v.Kind, v.Address, length, poolBytes, access); err != nil {
			return i, err
		}
	}
	return len(verbs), nil
}

// Check says whether one verb may be executed: nil or a sentinel. length is the payload of a READ
// or WRITE and the range of a FLUSH; atomics ignore it.
func Check(kind Kind, address, length, poolBytes uint64, access Access) error {
	switch kind {
	case Read:
		if length > MaxVerbBytes {
			return ErrTooLong
		}
	case Write:
		if access != ReadWrite {
			return ErrPermission
		}
		if length > MaxVerbBytes {
			return ErrTooLong
		}
	case CAS, FetchAdd:
		if access != ReadWrite {
			return ErrPermission
		}
		if address%8 != 0 {
			return ErrMisaligned
		}
		length = 8
	case Flush:
		if access != ReadWrite {
			return ErrPermission
		}
	default:
		return ErrUnknownVerb
	}
	if address > poolBytes || length > poolBytes-address {
		return ErrBounds
	}
	return nil
}

// Settle writes the outcome of a batch whose first done verbs were executed into its verbs and
// returns what Post returns: nil when cause is nil (then done is len(verbs)), else cause wrapped with the verb
// that it hit. A batch longer than MaxBatch has no such verb worth naming.
func Settle(verbs []Verb, done int, cause error) error {
	for i := range verbs[:done] {
		verbs[i].Err = nil
	}
	if cause == nil {
		return nil
	}
	if done == len(verbs) { // an empty batch on a dead queue pair
		return cause
	}
	v := &verbs[done]
	v.Err = cause
	for i := range verbs[done+1:] {
		verbs[done+1+i].Err = ErrFlushed
	}
	return fmt.Errorf("verb %d of %d, %s at %#x: %w", done, len(verbs), v.Kind, v.Address, cause)
}

// Abandon marks every verb of a batch whose outcome is unknown with cause and returns cause.
func Abandon(verbs []Verb, cause error) error {
	for i := range verbs {
		verbs[i].Err = cause
	}
	return cause
}

// Count adds executed verbs to the counters.
func (c *Counters) Count(verbs []Verb) {
	for i := range verbs {
		v := &verbs[i]
		c.Verbs[v.Kind]++
		switch v.Kind {
		case Read:
			c.BytesRead += uint64(len(v.Buffer))
		case Write:
			c.BytesWritten += uint64(len(v.Buffer))
		}
	}
}
