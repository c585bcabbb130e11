package figures

import "fmt"

// row is a figure of the table: a unit of a benchmark.
type row struct {
	group, configuration, name, benchmark, unit string

	rate     string // ns/op as so many of these a second
	goal     *goal
	optional bool // a benchmark that does not run everywhere
}

func (r *row) figure(samples []float64) Figure {
	f := Figure{Group: r.group, Configuration: r.configuration, Name: r.name, Unit: r.unit, Value: median(samples), Samples: samples}
	if r.rate != "" {
		f.Unit, f.Value = r.rate, 1e9/f.Value
	}
	if r.goal != nil {
		f.Goal, f.Reached = r.goal.text, r.goal.reached(f.Value)
	}
	return f
}

// goal is what a value should be.
type goal struct {
	text    string
	reached func(float64) bool
}

func atLeast(least float64) *goal {
	return &goal{"at least " + number(least), func(v float64) bool { return v >= least }}
}

func below(limit float64) *goal {
	return &goal{"below " + number(limit), func(v float64) bool { return v < limit }}
}

func exactly(want float64) *goal {
	return &goal{"exactly " + number(want), func(v float64) bool { return v == want }}
}

// Anna's rates on two cores, with a client in C++ and 256-byte values, as measured for this project: single gets with 128
// outstanding, and 16 requests of 16 tuples outstanding. The goal is three times as much.
const (
	annaSingle = 52_000
	annaTuples = 113_000
)

// table is what is reported, in this order.
var table = slicesOf(knRows(), engineRows(), mergeRows(), transportRows())

func slicesOf(groups ...[]row) (all []row) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

const knGroup = "KN against bare echo (one KN thread; cached 256-byte values; client, KN and echo share the processors)"

func knRows() (rows []row) {
	for _, shape := range []struct {
		outstanding, tuples int
		anna                float64
		goals               bool
	}{{64, 1, annaSingle, true}, {256, 1, annaSingle, false}, {64, 16, annaTuples, true}} {
		b := fmt.Sprintf("KNCachedGet/outstanding=%d/tuples=%d", shape.outstanding, shape.tuples)
		c := fmt.Sprintf("%d outstanding x %d tuples", shape.outstanding, shape.tuples)
		ratio := row{knGroup, c, "KN's rate over the echo's", b, "ratio", "", nil, false}
		rate := row{knGroup, c, "KN", b, "kn-tuples/s", "", atLeast(3 * shape.anna), false}
		tail := row{knGroup, c, "KN, p99 of a request", b, "p99-us", "", nil, false}
		if shape.goals {
			ratio.goal, tail.goal = atLeast(0.6), below(1000)
		}
		rows = append(rows, ratio, rate, row{knGroup, c, "echo", b, "echo-tuples/s", "", nil, false}, tail,
			row{knGroup, c, "processor time with a KN", b, "kn-cpu-ns/tuple", "", nil, false},
			row{knGroup, c, "processor time with the echo", b, "echo-cpu-ns/tuple", "", nil, false})
	}
	for _, tuples := range []int{1, 16} {
		b, c := fmt.Sprintf("Serve/tuples=%d", tuples), fmt.Sprintf("thread alone, %d tuples a request", tuples)
		rows = append(rows, row{knGroup, c, "from frame to queued answer", b, "ns/tuple", "", nil, false},
			row{knGroup, c, "allocations a request", b, "allocs/op", "", exactly(0), false})
	}
	return rows
}

const engineGroup = "Engine (one thread, 1,006-byte values, Zipf 0.99 over 20,000 keys)"

func engineRows() (rows []row) {
	for _, fabric := range []string{"shm", "tcp"} {
		for _, batch := range []int{1, 32} {
			for _, cache := range []struct {
				name, shown string
				trips       float64
				allocs      *goal
			}{{"cached", "get, all cached", 0, exactly(0)}, {"shortcuts", "get, shortcuts", 1, nil}, {"none", "get, no cache", 2, nil}} {
				b := fmt.Sprintf("EngineGet/%s/%s/batch=%d", fabric, cache.name, batch)
				c := fmt.Sprintf("%s, %s, batches of %d", cache.shown, fabric, batch)
				rows = append(rows, row{engineGroup, c, "rate", b, "ns/op", "op/s", nil, false})
				if batch == 1 && cache.name != "shortcuts" { // all shortcuts do not fit, so they may miss
					rows = append(rows, row{engineGroup, c, "round trips", b, "round-trips/get", "", exactly(cache.trips), false})
				}
				rows = append(rows, row{engineGroup, c, "allocations", b, "allocs/op", "", cache.allocs, false})
			}
			b, c := fmt.Sprintf("EnginePut/%s/batch=%d", fabric, batch), fmt.Sprintf("put, %s, batches of %d", fabric, batch)
			rows = append(rows, row{engineGroup, c, "rate", b, "ns/op", "op/s", nil, false},
				row{engineGroup, c, "round trips", b, "round-trips/put", "", nil, false}, row{engineGroup, c, "allocations", b, "allocs/op", "", exactly(0), false})
		}
	}
	return rows
}

const mergeGroup = "The DPM's merge (one worker, a backlog of 100,000 entries in memory)"

func mergeRows() (rows []row) {
	for _, c := range []string{"inserts/value=64", "inserts/value=1024", "updates/value=1024"} {
		rows = append(rows, row{mergeGroup, c, "rate", "Merge/" + c, "ns/op", "entries/s", nil, false})
	}
	return rows
}

const transportGroup = "Transport (echo of 300-byte messages over loopback, our client; libzmq's echo is zmq.proxy in a process of its own)"

var transportOutstanding = []int{64, 256}

func echoOf(server string, outstanding int) string {
	return fmt.Sprintf("Echo/server=%s/outstanding=%d/size=300B", server, outstanding)
}

func transportRows() (rows []row) {
	for _, outstanding := range transportOutstanding {
		for _, server := range []string{"ours", "libzmq"} {
			rows = append(rows, row{transportGroup, fmt.Sprintf("%d outstanding", outstanding), server, echoOf(server, outstanding), "echo/s", "", nil, server == "libzmq"})
		}
	}
	return rows
}

// ratios are figures of two benchmarks.
func ratios(s Samples) (all []Figure) {
	for _, outstanding := range transportOutstanding {
		ours, theirs := s[echoOf("ours", outstanding)]["echo/s"], s[echoOf("libzmq", outstanding)]["echo/s"]
		if len(ours) > 0 && len(theirs) > 0 {
			v := median(ours) / median(theirs)
			all = append(all, Figure{Group: transportGroup, Configuration: fmt.Sprintf("%d outstanding", outstanding), Name: "ours over libzmq", Unit: "ratio",
				Value: v, Samples: []float64{v}})
		}
	}
	return all
}
