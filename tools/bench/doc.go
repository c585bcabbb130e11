// Package bench generates load: it carries out benchmark command lines (package command) against a cluster, measures each
// operation, and reports.
//
// A Thread is one client with one command at a time; a Node is what `dinomo bench` runs: a thread behind each command socket,
// with feedback to the monitoring nodes and reports to whoever subscribed. Replay works through a command file and
// keeps what each line did, so that two runs can be compared.
//
// Invariants:
//   - BENCH-1 every operation that is started is counted once, in operations or, by name, in errors as well; none is
//     dropped from the latencies for being slow.
//   - BENCH-2 a thread's memory does not depend on the number of keys: ranks come from internal/zipf, and what WARM
//     remembers is 4 or 8 bytes for each drawn key, as its command asks.
//   - BENCH-3 the same seed, command and thread number give the same sequence of operations.
//
// The load is closed: so many operations are outstanding, and the end of one starts the next. Throughput counts those that
// ended within the phase's time; latencies and errors count the stragglers too.
//
// What it does not do: start or stop nodes (ADD, REMOVE and FAIL go from the trigger to the management node), or measure
// what servers do (the KNs' own statistics say that).
package bench
