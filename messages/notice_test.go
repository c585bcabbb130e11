package messages

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// stringForms are the plain strings by the name that testdata/strings has for them.
var stringForms = map[string]func(string) (fmt.Stringer, error){
	"node":         func(s string) (fmt.Stringer, error) { return ParseNode(s) },
	"node-join":    func(s string) (fmt.Stringer, error) { return ParseNodeJoin(s) },
	"notice":       func(s string) (fmt.Stringer, error) { return ParseNotice(s) },
	"depart-done":  func(s string) (fmt.Stringer, error) { return ParseDepartDone(s) },
	"failover":     func(s string) (fmt.Stringer, error) { return ParseFailover(s) },
	"churn":        func(s string) (fmt.Stringer, error) { return ParseChurn(s) },
	"restart":      func(s string) (fmt.Stringer, error) { return ParseRestartQuery(s) },
	"metadata-key": func(s string) (fmt.Stringer, error) { return ParseMetadataKey(s) },
	"address":      func(s string) (fmt.Stringer, error) { return ParseAddress(s) },
	"restart-count": func(s string) (fmt.Stringer, error) {
		n, err := ParseRestartCount(s)
		return restartCount(n), err
	},
}

type restartCount uint32

func (n restartCount) String() string { return FormatRestartCount(uint32(n)) }

// TestStrings parses the lines of testdata/strings and shows what was understood; what is taken must be written back
// as it was.
func TestStrings(t *testing.T) {
	datadriven.RunTest(t, "testdata/strings", func(t *testing.T, d *datadriven.TestData) string {
		parse, ok := stringForms[d.Cmd]
		if !ok {
			d.Fatalf(t, "no such string")
		}
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			line = strings.TrimSuffix(line, "\n")
			got, err := parse(line)
			if err != nil {
				fmt.Fprintf(&out, "%v\n", err)
				continue
			}
			// Without its String method, so that the fields show.
			fmt.Fprintf(&out, "%s\n", showFields(reflect.ValueOf(got)))
			if got.String() != line {
				t.Errorf("%s: %q is written as %q", d.Cmd, line, got)
			}
		}
		return out.String()
	})
}

// showFields prints a struct's fields that are set, those of embedded ones among them.
func showFields(v reflect.Value) string {
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[Address]() {
		return fmt.Sprint(v)
	}
	var words []string
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Anonymous:
			words = append(words, showFields(v.Field(i)))
		case !v.Field(i).IsZero():
			words = append(words, fmt.Sprintf("%s=%v", f.Name, v.Field(i)))
		}
	}
	return strings.Join(words, " ")
}

func TestStringsAreBounded(t *testing.T) {
	long := strings.Repeat("1", MaxNoticeBytes)
	for name, parse := range stringForms {
		for _, s := range []string{long + ":", "join:" + long, "restart:" + long, "ANNA_METADATA|stats|" + long} {
			_, err := parse(s)
			if err == nil {
				t.Errorf("%s takes %d bytes", name, len(s))
			} else if len(err.Error()) > 2*MaxNoticeBytes {
				t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
			}
		}
	}
}

func TestMetadataPayload(t *testing.T) {
	want := &ReplicationFactor{Key: "k", Global: []*ReplicationValue{{Tier: Tier_MEMORY, Value: 2}}}
	payload, err := MetadataPayload(9, want)
	if err != nil {
		t.Fatal(err)
	}
	var got ReplicationFactor
	ts, err := ParseMetadataPayload(payload, &got)
	if err != nil || ts != 9 || !Equal(&got, want) {
		t.Errorf("%d, %v, %v", ts, &got, err)
	}
	for _, bad := range [][]byte{{0xff}, {0x12, 1, 0xff}} {
		if _, err := ParseMetadataPayload(bad, &got); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if !IsMetadataKey("ANNA_METADATA|") || IsMetadataKey("ANNA_METADATA") || IsMetadataKey("") {
		t.Error("IsMetadataKey")
	}
}

func FuzzStrings(f *testing.F) {
	for _, s := range []string{
		"join:MEMORY:127.0.0.1:127.0.0.2:0", "depart:ROUTING:10.0.0.1:10.0.0.1", "MEMORY:1.2.3.4:1.2.3.4:7", "1.2.3.4_1.2.3.4_1",
		"MEMORY:3", "add:2:memory", "remove:127.0.0.1:routing", "fail:1:memory", "restart:127.0.0.1", "17",
		"ANNA_METADATA|replication|a|b", "ANNA_METADATA|stats|1.2.3.4|::1|0|STORAGE", "tcp://127.0.0.1:6200", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, parse := range stringForms {
			got, err := parse(s)
			if err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrInvalidAddress) {
					t.Fatalf("%s %q: %v wraps no sentinel", name, s, err)
				}
				continue
			}
			// An IPv6 address alone may be spelled in several ways.
			if got.String() != s && !strings.Contains(s, "[") {
				t.Fatalf("%s: %q is written as %q", name, s, got)
			}
		}
	})
}
