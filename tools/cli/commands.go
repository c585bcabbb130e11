package cli

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
	"github.com/dinomo-kv/dinomo/tools/prompt"
)

// ErrUsage means that a line is no command; its text shows the command's form.
var ErrUsage = errors.New("usage")

// verb is one command of the prompt.
type verb struct {
	name string
	form string // its arguments
	help string
	// fits says whether there may be so many arguments.
	fits func(n int) bool
	run  func(s *shell, ctx context.Context, args []string) error
}

func atLeast(n int) func(int) bool { return func(have int) bool { return have >= n } }
func exactly(n int) func(int) bool { return func(have int) bool { return have == n } }
func pairs(n int) bool             { return n >= 2 && n%2 == 0 }

// success is what a write prints, as in Anna.
const success = "Success!"

// verbs is every command, in the order of HELP. It is filled by init, as HELP refers to it.
var verbs []verb

func init() {
	verbs = []verb{
		{"GET", "key ...", "the values of keys", atLeast(1), (*shell).get},
		{"PUT", "key value [key value ...]", "store values", pairs, writer(messages.RequestType_PUT)},
		{"INSERT", "key value [key value ...]", "store values of new keys (as PUT)", pairs, writer(messages.RequestType_INSERT)},
		{"UPDATE", "key value [key value ...]", "store values of existing keys (as PUT)", pairs, writer(messages.RequestType_UPDATE)},
		{"DELETE", "key ...", "remove keys, whatever their type", atLeast(1), (*shell).remove},
		{"GET_SET", "key", "the members of a set", exactly(1), (*shell).getSet},
		{"PUT_SET", "key member ...", "add members to a set", atLeast(2), (*shell).putSet},
		{"GET_ORDERED_SET", "key", "the members of an ordered set, in order", exactly(1), (*shell).getOrderedSet},
		{"PUT_ORDERED_SET", "key member ...", "add members to an ordered set", atLeast(2), (*shell).putOrderedSet},
		{"GET_CAUSAL", "key", "vector clock, dependencies and value of a causal key", exactly(1), (*shell).getCausal},
		{"PUT_CAUSAL", "key value", "store a value with clock test:1 that depends on dep1 at test1:1", exactly(2), (*shell).putCausal},
		{"GET_PRIORITY", "key", "priority and value of a priority key", exactly(1), (*shell).getPriority},
		{"PUT_PRIORITY", "key priority value", "offer a value; the smallest priority stays", exactly(3), (*shell).putPriority},
		{"HELP", "", "this", exactly(0), (*shell).help},
		{"EXIT", "", "leave (so does the end of input)", exactly(0), func(*shell, context.Context, []string) error { return errExit }},
		{"QUIT", "", "", exactly(0), func(*shell, context.Context, []string) error { return errExit }},
	}
}

// errExit ends the shell.
var errExit = errors.New("exit")

// Help returns what HELP prints.
func Help() string {
	var b strings.Builder
	for _, v := range verbs {
		if v.help != "" {
			fmt.Fprintf(&b, "%-42s %s\n", strings.TrimSpace(v.name+" "+v.form), v.help)
		}
	}
	b.WriteString("\nCommands may be written in small letters. GET of one key prints its value; of several, one `key: value` a line.\n" +
		"A value that is not printable text is shown in double quotes with escapes.\n" +
		"Exit status: 0 all went well, 1 an operation failed, 2 a line was no command.\n\n" + prompt.QuotingRules)
	return b.String()
}

// find looks a verb up and checks the number of its arguments.
func find(words []string) (verb, error) {
	name := strings.ToUpper(words[0])
	for _, v := range verbs {
		if v.name != name {
			continue
		}
		if !v.fits(len(words) - 1) {
			return verb{}, fmt.Errorf("%w: %s", ErrUsage, strings.TrimSpace(v.name+" "+v.form))
		}
		return v, nil
	}
	return verb{}, fmt.Errorf("%w: unknown command %s; HELP lists them", ErrUsage, prompt.Quote(words[0]))
}

// complete returns the commands that begin like that.
func complete(beginning string) []string {
	var out []string
	for _, v := range verbs {
		if strings.HasPrefix(v.name, strings.ToUpper(beginning)) {
			out = append(out, v.name+" ")
		}
	}
	sort.Strings(out)
	return out
}

func (s *shell) help(context.Context, []string) error {
	s.println(strings.TrimSuffix(Help(), "\n"))
	return nil
}

func (s *shell) get(ctx context.Context, keys []string) error {
	var errs failures
	for i, out := range s.client.MultiGet(ctx, keys...) {
		value, err := out.Value()
		switch {
		case err != nil:
			errs = append(errs, failed("get", keys[i], err))
		case len(keys) == 1:
			s.println(display(value))
		default:
			s.println(prompt.Quote(keys[i]) + ": " + display(value))
		}
	}
	return errs.orNil()
}

// writer returns the command that writes pairs of keys and values.
func writer(t messages.RequestType) func(s *shell, ctx context.Context, args []string) error {
	return func(s *shell, ctx context.Context, args []string) error {
		var ops []client.Operation
		for i := 0; i < len(args); i += 2 {
			ops = append(ops, client.Operation{Type: t, Key: args[i], Value: []byte(args[i+1])})
		}
		return s.all(ctx, strings.ToLower(t.String()), ops)
	}
}

func (s *shell) remove(ctx context.Context, keys []string) error {
	var ops []client.Operation
	for _, key := range keys {
		ops = append(ops, client.Operation{Type: messages.RequestType_DELETE, Key: key})
	}
	return s.all(ctx, "delete", ops)
}

// all carries out writes and prints one line when all of them succeeded.
func (s *shell) all(ctx context.Context, what string, ops []client.Operation) error {
	var errs failures
	for i, out := range s.client.Do(ctx, ops...) {
		if out.Err != nil {
			errs = append(errs, failed(what, ops[i].Key, out.Err))
		}
	}
	return s.wrote(errs.orNil())
}

// failures is what went wrong with several keys of one command.
type failures []error

// Error implements error.
func (f failures) Error() string { return errors.Join(f...).Error() }

// Unwrap makes errors.Is look at each.
func (f failures) Unwrap() []error { return f }

func (f failures) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// wrote prints the success of a write.
func (s *shell) wrote(err error) error {
	if err == nil {
		s.println(success)
	}
	return err
}

func failed(what, key string, err error) error {
	return fmt.Errorf("%s %s: %w", what, prompt.Quote(key), err)
}

func (s *shell) getSet(ctx context.Context, args []string) error {
	return s.members(s.client.GetSet(ctx, args[0]))
}

func (s *shell) getOrderedSet(ctx context.Context, args []string) error {
	return s.members(s.client.GetOrderedSet(ctx, args[0]))
}

func (s *shell) putSet(ctx context.Context, args []string) error {
	return s.wrote(s.client.PutSet(ctx, args[0], bytesOf(args[1:])...))
}

func (s *shell) putOrderedSet(ctx context.Context, args []string) error {
	return s.wrote(s.client.PutOrderedSet(ctx, args[0], bytesOf(args[1:])...))
}

// members prints a set as Anna does.
func (s *shell) members(set [][]byte, err error) error {
	if err != nil {
		return err
	}
	parts := []string{"{"}
	for _, m := range set {
		parts = append(parts, display(m))
	}
	s.println(strings.Join(append(parts, "}"), " "))
	return nil
}

func bytesOf(words []string) [][]byte {
	out := make([][]byte, len(words))
	for i, w := range words {
		out[i] = []byte(w)
	}
	return out
}

// getCausal prints a line for each entry of the clock, then one for each dependency, then one for each value, as Anna does;
// concurrent writes leave several.
func (s *shell) getCausal(ctx context.Context, args []string) error {
	v, err := s.client.GetCausal(ctx, args[0], lattice.MultiCausal)
	if errors.Is(err, messages.ErrLattice) {
		v, err = s.client.GetCausal(ctx, args[0], lattice.SingleCausal)
	}
	if err != nil {
		return err
	}
	for _, tick := range v.Clock {
		s.println(showTick(tick))
	}
	for _, d := range v.Dependencies {
		var ticks strings.Builder
		for _, tick := range d.Clock {
			ticks.WriteString(showTick(tick))
		}
		s.println(display([]byte(d.Key)) + " : " + ticks.String())
	}
	for _, value := range v.Values {
		s.println(display(value))
	}
	return nil
}

func showTick(t lattice.Tick) string {
	return fmt.Sprintf("{%s : %d}", display([]byte(t.Name)), t.Counter)
}

// putCausal writes what Anna's prompt writes: the clock and the dependency are fixed.
func (s *shell) putCausal(ctx context.Context, args []string) error {
	return s.wrote(s.client.PutCausal(ctx, args[0], lattice.CausalValue{
		Type:         lattice.MultiCausal,
		Clock:        lattice.Clock{{Name: "test", Counter: 1}},
		Dependencies: []lattice.Dependency{{Key: "dep1", Clock: lattice.Clock{{Name: "test1", Counter: 1}}}},
		Values:       [][]byte{[]byte(args[1])},
	}))
}

func (s *shell) getPriority(ctx context.Context, args []string) error {
	v, err := s.client.GetPriority(ctx, args[0])
	if err == nil {
		s.println(strconv.FormatFloat(v.Priority, 'g', -1, 64) + " : " + display(v.Value))
	}
	return err
}

func (s *shell) putPriority(ctx context.Context, args []string) error {
	p, err := strconv.ParseFloat(args[1], 64)
	if err != nil || p != p {
		return fmt.Errorf("%w: PUT_PRIORITY key priority value: %s is no number", ErrUsage, prompt.Quote(args[1]))
	}
	return s.wrote(s.client.PutPriority(ctx, args[0], p, []byte(args[2])))
}

// display shows a value: as it is when that is printable text on one line, else quoted.
func display(b []byte) string {
	if !utf8.Valid(b) {
		return prompt.Quote(string(b))
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) {
			return prompt.Quote(string(b))
		}
	}
	return string(b)
}
