package command

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrSyntax means that a line is no benchmark command. Every error of Parse wraps it; its text ends in the grammar.
var ErrSyntax = errors.New("malformed benchmark command")

// grammar describes one command: its fields' names, and how to read them.
type grammar struct {
	dialect string
	word    string
	fields  string // as PROTOCOL writes them, with [ ] around what may be left out
	example string
	counts  []int // how many fields there may be, without the word
	parse   func(f *fields) Command
}

// grammars is the whole language, in the order in which Help prints it.
var grammars = []grammar{
	{"Dinomo", "LOAD", "num_keys:value_length:total_threads_per_node:num_nodes", "LOAD:200000:1006:2:1", []int{4}, parseLoad},
	{"Dinomo", "WARM", "num_keys:value_length:num_requests:zipf", "WARM:200000:1006:200000:0.99", []int{4}, parseWarm},
	{"Dinomo", "WARM-RUN", "read_ratio:value_length:report_period:seconds:outstanding[:num_loaded_keys:is_update_only]",
		"WARM-RUN:0.95:1006:1:10:64", []int{5, 7}, parseWarmRun},
	{"Dinomo", "RUN", "read_ratio:num_keys:value_length:report_period:seconds:zipf:outstanding[:is_update_only]",
		"RUN:0.95:200000:1006:1:10:0.99:64", []int{7, 8}, parseRun},
	{"Dinomo", "ADD", "num_bench_nodes", "ADD:1", []int{1}, func(f *fields) Command { return Add{f.count("num_bench_nodes", MaxNodes)} }},
	{"Dinomo", "REMOVE", "num_bench_nodes", "REMOVE:1", []int{1}, func(f *fields) Command { return Remove{f.count("num_bench_nodes", MaxNodes)} }},
	{"Dinomo", "FAIL", "num_kns", "FAIL:1", []int{1}, func(f *fields) Command { return Fail{f.count("num_kns", MaxNodes)} }},
	{"Anna", "WARM", "num_keys:value_length:total_threads", "WARM:200000:256:2", []int{3}, parseAnnaWarm},
	{"Anna", "CACHE", "num_keys", "CACHE:200000", []int{1}, func(f *fields) Command { return AnnaCache{f.keys("num_keys")} }},
	{"Anna", "LOAD", "type:num_keys:value_length:report_period:seconds:zipf", "LOAD:M:200000:256:1:10:0.99", []int{6}, parseAnnaLoad},
	{"Ours", "YCSB", "workload:num_keys:value_length:report_period:seconds:zipf:outstanding", "YCSB:A:200000:1000:1:10:0.99:64", []int{7}, parseYCSB},
}

func (g grammar) String() string { return g.word + ":" + g.fields }

// Help returns the grammar of every command, one a line, with an example each.
func Help() string {
	var b strings.Builder
	for _, g := range grammars {
		fmt.Fprintf(&b, "%-7s %s\n%8sfor example %s\n", g.dialect, g, "", g.example)
	}
	b.WriteString("read_ratio is 0 to 1; report_period and seconds are seconds; zipf 0 draws uniformly;\n" +
		"is_update_only 1 (default) updates loaded keys, 0 inserts fresh ones; type is G (get), P (put) or M (put, then get);\n" +
		"workload is A to F.\n")
	return b.String()
}

// Words returns every command's first field once, for completion.
func Words() []string {
	var out []string
	seen := map[string]bool{}
	for _, g := range grammars {
		if !seen[g.word] {
			seen[g.word] = true
			out = append(out, g.word)
		}
	}
	return out
}

// Parse reads one command line. Space around it does not matter, nor does the case of the word. The error of a line
// that is no command wraps ErrSyntax and shows the grammar of the command that the line begins with.
func Parse(text string) (Command, error) {
	text = strings.TrimSpace(text)
	if len(text) > MaxLineBytes {
		return nil, fmt.Errorf("%w: %d bytes long, more than %d", ErrSyntax, len(text), MaxLineBytes)
	}
	parts := strings.Split(text, ":")
	word := strings.ToUpper(parts[0])
	g, err := choose(word, parts[1:])
	if err != nil {
		return nil, err
	}
	f := &fields{rest: parts[1:]}
	c := g.parse(f)
	if f.err != nil {
		return nil, fmt.Errorf("%w: %w; want %s, for example %s", ErrSyntax, f.err, g, g.example)
	}
	return c, nil
}

// choose finds the grammar that a line follows, from its word and its shape.
func choose(word string, rest []string) (grammar, error) {
	var same []string
	for _, g := range grammars {
		if g.word != word {
			continue
		}
		if fits(g, rest) {
			return g, nil
		}
		same = append(same, g.String())
	}
	if same == nil {
		return grammar{}, fmt.Errorf("%w: unknown command %q; want one of %s", ErrSyntax, word, strings.Join(Words(), ", "))
	}
	return grammar{}, fmt.Errorf("%w: %s with %d fields after it; want %s", ErrSyntax, word, len(rest), strings.Join(same, " or "))
}

func fits(g grammar, rest []string) bool {
	letter := len(rest) > 0 && rest[0] != "" && (rest[0][0] < '0' || rest[0][0] > '9')
	if g.word == "LOAD" && letter != (g.dialect == "Anna") {
		return false
	}
	for _, n := range g.counts {
		if n == len(rest) {
			return true
		}
	}
	return false
}

func parseLoad(f *fields) Command {
	return Load{f.keys("num_keys"), f.valueBytes(), f.count("total_threads_per_node", MaxThreads), f.count("num_nodes", MaxNodes)}
}

func parseWarm(f *fields) Command {
	return Warm{f.keys("num_keys"), f.valueBytes(), f.number("num_requests", 1, MaxDrawn), f.zipf()}
}

func parseWarmRun(f *fields) Command {
	c := WarmRun{ReadRatio: f.ratio("read_ratio"), ValueBytes: f.valueBytes(), ReportPeriod: f.seconds("report_period"),
		Duration: f.seconds("seconds"), Outstanding: f.count("outstanding", MaxOutstanding), UpdateOnly: true}
	if f.more() {
		c.LoadedKeys, c.UpdateOnly = f.number("num_loaded_keys", 0, MaxKeys), f.flag("is_update_only")
	}
	return c
}

func parseRun(f *fields) Command {
	c := Run{ReadRatio: f.ratio("read_ratio"), Keys: f.keys("num_keys"), ValueBytes: f.valueBytes(),
		ReportPeriod: f.seconds("report_period"), Duration: f.seconds("seconds"), Zipf: f.zipf(),
		Outstanding: f.count("outstanding", MaxOutstanding), UpdateOnly: true}
	if f.more() {
		c.UpdateOnly = f.flag("is_update_only")
	}
	return c
}

func parseYCSB(f *fields) Command {
	return YCSB{Workload: f.letter("workload", "ABCDEF"), Keys: f.keys("num_keys"), ValueBytes: f.valueBytes(),
		ReportPeriod: f.seconds("report_period"), Duration: f.seconds("seconds"), Zipf: f.zipf(),
		Outstanding: f.count("outstanding", MaxOutstanding)}
}

func parseAnnaWarm(f *fields) Command {
	return AnnaWarm{f.keys("num_keys"), f.valueBytes(), f.count("total_threads", MaxThreads)}
}

func parseAnnaLoad(f *fields) Command {
	kind := f.letter("type", "GPM")
	c := AnnaLoad{Keys: f.keys("num_keys"), ValueBytes: f.valueBytes(), ReportPeriod: f.seconds("report_period"),
		Duration: f.seconds("seconds"), Zipf: f.zipf()}
	if f.err == nil {
		c.Kind = AnnaKind(kind[0])
	}
	return c
}

// fields reads the parts of a line one after the other and keeps the first thing that is wrong.
type fields struct {
	rest []string
	err  error
}

func (f *fields) more() bool { return len(f.rest) > 0 }

func (f *fields) next() string {
	s := f.rest[0]
	f.rest = f.rest[1:]
	return s
}

func (f *fields) fail(name, got, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s is %q, want %s", name, clip(got), want)
	}
}

func (f *fields) number(name string, least, most uint64) uint64 {
	s := f.next()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < least || n > most {
		f.fail(name, s, fmt.Sprintf("a whole number from %d to %d", least, most))
		return 0
	}
	return n
}

func (f *fields) keys(name string) uint64 { return f.number(name, 1, MaxKeys) }

func (f *fields) count(name string, most uint64) int { return int(f.number(name, 1, most)) }

func (f *fields) valueBytes() int { return int(f.number("value_length", 0, MaxValueBytes)) }

func (f *fields) decimal(name string, least, most float64, want string) float64 {
	s := f.next()
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(x) || x < least || x > most || strings.ContainsAny(s, "xXpP_") {
		f.fail(name, s, want)
		return 0
	}
	return x + 0 // no negative zero
}

func (f *fields) ratio(name string) float64 {
	return f.decimal(name, 0, 1, "a number from 0 to 1")
}

func (f *fields) zipf() float64 {
	return f.decimal("zipf", 0, MaxZipf, fmt.Sprintf("a number from 0 (uniform) to %g", MaxZipf))
}

// seconds reads a time. Anna and Dinomo have whole seconds; a fraction is fine here, down to a millisecond.
func (f *fields) seconds(name string) time.Duration {
	x := f.decimal(name, 0.001, MaxDuration.Seconds(), fmt.Sprintf("seconds, 0.001 to %.0f", MaxDuration.Seconds()))
	return time.Duration(math.Round(x*1000)) * time.Millisecond
}

func (f *fields) flag(name string) bool {
	switch s := f.next(); s {
	case "0":
		return false
	case "1":
		return true
	default:
		f.fail(name, s, "0 or 1")
		return false
	}
}

func (f *fields) letter(name, among string) string {
	s := f.next()
	up := strings.ToUpper(s)
	if len(up) != 1 || !strings.Contains(among, up) {
		f.fail(name, s, "one letter of "+among)
		return ""
	}
	return up
}

// clip shortens a hostile field for an error message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
