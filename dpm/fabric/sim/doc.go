// Package sim is the fabric of simulations: verbs between the actors of one process, on virtual
// time, with seeded faults. The same seed and the same actors give the same run.
//
// Actors make plain synchronous calls. Before every verb, between the pieces of a long one, and while a
// completion is under way the fabric calls Options.Wait, in which a simulation suspends the calling actor (a coroutine)
// and lets others run: so the races between one-sided verbs are explored, too.
//
// Faults that users of a fabric must survive, and that it injects as Faults says:
//
//   - any delay of a verb, so that verbs of different queue pairs overtake each other;
//   - a READ or WRITE longer than a word takes effect in pieces at word boundaries, in any order, with others'
//     verbs between the pieces;
//   - a queue pair that breaks: before a batch, in it, in the middle of a WRITE (a prefix of its words is
//     stored), or after it, when only the completion is lost (ErrBroken);
//   - the same, noticed only after the time limit (ErrTimeout);
//   - what had not been executed when the dialler gave up is executed later, up to the moment when
//     the thread's next queue pair is admitted, the rank is fenced, or the listener goes away;
//   - a call whose request or whose reply is lost, and a dial that gets no answer;
//   - a node that is cut off for a while (Cut), and a DPM that dies without a word (Listener.Crash).
//
// With Options.Mapped the diallers' own processors store into the pool, as with shm: a batch is carried out by its dialler to the end, whatever
// becomes of the connection; a cut link, and a lost completion, concern calls alone; Fence ends the connection, which the dialler may
// notice one or more batches later, and takes nothing away (Revocable is false). That another DPM serves the pool it notices at the
// end of a batch (fabric.Life).
//
// It injects nothing else: within a queue pair verbs take effect in order, an aligned word never tears,
// atomics are atomic, bytes do not change on the way, nothing is executed twice, and after Fence, but for mapped memory, nothing
// of the fenced rank's is executed.
package sim
