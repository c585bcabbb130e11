package command

import (
	"strconv"
	"strings"
	"time"
)

// Limits on what a command may ask for. They keep a typing error from filling a machine's memory.
const (
	MaxKeys        = 1_000_000_000_000
	MaxValueBytes  = 64 << 20
	MaxDrawn       = 200_000_000 // keys that WARM remembers: 4 or 8 bytes each, for each thread
	MaxThreads     = 4096        // of one node
	MaxNodes       = 4096
	MaxOutstanding = 1 << 16
	MaxZipf        = 16.0
	MaxDuration    = 30 * 24 * time.Hour
	MaxLineBytes   = 512
)

// Command is one parsed line. Its concrete types are the structs of this file.
type Command interface {
	// String returns the line that Parse reads back, without defaults that may be left out.
	String() string
	// Word is the command's first field.
	Word() string
}

// Load writes keys 1 to Keys, as plain decimals; each benchmark thread has its own part.
type Load struct {
	Keys           uint64
	ValueBytes     int
	ThreadsPerNode int
	Nodes          int
}

// Warm draws Requests keys, remembers them for WarmRun, and reads them all.
type Warm struct {
	Keys       uint64
	ValueBytes int
	Requests   uint64
	Zipf       float64
}

// WarmRun works through the keys that Warm remembered, again and again.
type WarmRun struct {
	ReadRatio    float64
	ValueBytes   int
	ReportPeriod time.Duration
	Duration     time.Duration
	Outstanding  int
	// LoadedKeys and UpdateOnly are one option: where they are not given, LoadedKeys is 0 and UpdateOnly is true.
	LoadedKeys uint64
	UpdateOnly bool
}

// Run draws keys while it runs.
type Run struct {
	ReadRatio    float64
	Keys         uint64
	ValueBytes   int
	ReportPeriod time.Duration
	Duration     time.Duration
	Zipf         float64
	Outstanding  int
	// UpdateOnly: writes are updates of keys 1 to Keys; otherwise they insert fresh keys above Keys.
	UpdateOnly bool
}

// YCSB runs one of the core workloads A to F of the Yahoo! Cloud Serving Benchmark over keys 1 to Keys. Ours; not in
// Anna or Dinomo.
type YCSB struct {
	Workload     string // one letter, A to F
	Keys         uint64
	ValueBytes   int
	ReportPeriod time.Duration
	Duration     time.Duration
	Zipf         float64
	Outstanding  int
}

// Add starts benchmark nodes, through the management node.
type Add struct{ Count int }

// Remove stops benchmark nodes, through the management node.
type Remove struct{ Count int }

// Fail kills KNs, through the management node.
type Fail struct{ Count int }

// AnnaWarm is Anna's loading of keys 1 to Keys, 8-digit decimals, shared among Threads threads.
type AnnaWarm struct {
	Keys       uint64
	ValueBytes int
	Threads    int
}

// AnnaCache asks for every key once.
type AnnaCache struct{ Keys uint64 }

// AnnaKind is what an AnnaLoad does for each key it draws.
type AnnaKind byte

// The kinds of AnnaLoad.
const (
	AnnaGet    AnnaKind = 'G'
	AnnaPut    AnnaKind = 'P'
	AnnaPutGet AnnaKind = 'M' // a put, then a get
)

// AnnaLoad is Anna's run; one request is outstanding.
type AnnaLoad struct {
	Kind         AnnaKind
	Keys         uint64
	ValueBytes   int
	ReportPeriod time.Duration
	Duration     time.Duration
	Zipf         float64
}

// Word implements Command.
func (Load) Word() string { return "LOAD" }

// Word implements Command.
func (Warm) Word() string { return "WARM" }

// Word implements Command.
func (WarmRun) Word() string { return "WARM-RUN" }

// Word implements Command.
func (Run) Word() string { return "RUN" }

// Word implements Command.
func (YCSB) Word() string { return "YCSB" }

// Word implements Command.
func (Add) Word() string { return "ADD" }

// Word implements Command.
func (Remove) Word() string { return "REMOVE" }

// Word implements Command.
func (Fail) Word() string { return "FAIL" }

// Word implements Command.
func (AnnaWarm) Word() string { return "WARM" }

// Word implements Command.
func (AnnaCache) Word() string { return "CACHE" }

// Word implements Command.
func (AnnaLoad) Word() string { return "LOAD" }

func (c Load) String() string {
	return line(c.Word(), c.Keys, c.ValueBytes, c.ThreadsPerNode, c.Nodes)
}

func (c Warm) String() string { return line(c.Word(), c.Keys, c.ValueBytes, c.Requests, c.Zipf) }

func (c WarmRun) String() string {
	s := line(c.Word(), c.ReadRatio, c.ValueBytes, c.ReportPeriod, c.Duration, c.Outstanding)
	if c.LoadedKeys == 0 && c.UpdateOnly {
		return s
	}
	return s + ":" + line(strconv.FormatUint(c.LoadedKeys, 10), c.UpdateOnly)
}

func (c Run) String() string {
	s := line(c.Word(), c.ReadRatio, c.Keys, c.ValueBytes, c.ReportPeriod, c.Duration, c.Zipf, c.Outstanding)
	if c.UpdateOnly {
		return s
	}
	return s + ":0"
}

func (c YCSB) String() string {
	return line(c.Word(), c.Workload, c.Keys, c.ValueBytes, c.ReportPeriod, c.Duration, c.Zipf, c.Outstanding)
}

func (c Add) String() string    { return line(c.Word(), c.Count) }
func (c Remove) String() string { return line(c.Word(), c.Count) }
func (c Fail) String() string   { return line(c.Word(), c.Count) }

func (c AnnaWarm) String() string  { return line(c.Word(), c.Keys, c.ValueBytes, c.Threads) }
func (c AnnaCache) String() string { return line(c.Word(), c.Keys) }

func (c AnnaLoad) String() string {
	return line(c.Word(), string(c.Kind), c.Keys, c.ValueBytes, c.ReportPeriod, c.Duration, c.Zipf)
}

// line joins fields as Parse reads them; durations become seconds.
func line(word string, fields ...any) string {
	var b strings.Builder
	b.WriteString(word)
	for _, f := range fields {
		b.WriteByte(':')
		switch v := f.(type) {
		case string:
			b.WriteString(v)
		case int:
			b.WriteString(strconv.Itoa(v))
		case uint64:
			b.WriteString(strconv.FormatUint(v, 10))
		case float64:
			b.WriteString(strconv.FormatFloat(v, 'f', -1, 64))
		case time.Duration:
			b.WriteString(strconv.FormatFloat(v.Seconds(), 'f', -1, 64))
		case bool:
			b.WriteString(map[bool]string{false: "0", true: "1"}[v])
		}
	}
	return b.String()
}
