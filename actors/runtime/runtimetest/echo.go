package runtimetest

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/actors/runtime"
)

// Echo answers every frame that comes in by pull with itself, as a server thread would: drain
// what has arrived, answer, flush. address finds the address to answer at in a frame; it may
// alias the frame. Echo returns when pull is closed, or with the first error.
func Echo(pull *runtime.Pull, peers *runtime.Peers, address func(frame []byte) string) error {
	for batch := range pull.Batches() {
		for more := true; more; {
			for _, frame := range batch.Frames {
				push, err := peers.Get(address(frame))
				if err != nil {
					return fmt.Errorf("echo: %w", err)
				}
				if err := push.AppendBytes(frame); err != nil {
					return fmt.Errorf("echo: %w", err)
				}
			}
			batch.Release()
			select {
			case batch, more = <-pull.Batches():
			default:
				more = false
			}
		}
		peers.FlushDirty()
	}
	return nil
}

// Drive sends requests through push and keeps outstanding of them unanswered until it has
// received total answers by pull. next encodes request number i into push (Append or
// AppendBytes); answered, when not nil, looks at each answer.
func Drive(push *runtime.Push, pull *runtime.Pull, outstanding, total int, next func(push *runtime.Push, i int) error,
	answered func(frame []byte) error) error {
	sent, got := 0, 0
	fill := func(limit int) error {
		for ; sent < min(limit, total); sent++ {
			if err := next(push, sent); err != nil {
				return fmt.Errorf("request %d: %w", sent, err)
			}
		}
		push.Flush()
		return nil
	}
	if err := fill(outstanding); err != nil {
		return err
	}
	for got < total {
		batch, ok := <-pull.Batches()
		if !ok {
			return fmt.Errorf("%d of %d answers: %w", got, total, runtime.ErrClosed)
		}
		for _, frame := range batch.Frames {
			got++
			if answered == nil {
				continue
			}
			if err := answered(frame); err != nil {
				return fmt.Errorf("answer %d: %w", got, err)
			}
		}
		batch.Release()
		if err := fill(got + outstanding); err != nil {
			return err
		}
	}
	return nil
}
