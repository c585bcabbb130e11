package prompt

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		``:                         nil,
		`   `:                      nil,
		`# PUT a 1`:                nil,
		`  # x`:                    nil,
		`PUT a 1`:                  {"PUT", "a", "1"},
		"\tPUT  a\t1 \r":           {"PUT", "a", "1"},
		`PUT 'a b' "c d"`:          {"PUT", "a b", "c d"},
		`PUT '' ""`:                {"PUT", "", ""},
		`a\ b\\ \'\"`:              {`a b\`, `'"`},
		`"\n\t\r\0\\\"\'\x41\xff"`: {"\n\t\r\x00\\\"'A\xff"},
		`a'b'"c"d`:                 {"abcd"},
		`'it''s' # no comment`:     {"its", "#", "no", "comment"},
		`"#"`:                      {"#"},
		"grün \xff":                {"grün", "\xff"},
	} {
		got, err := Words(line)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
	for _, bad := range []string{`'`, `a "b`, `a\`, `"\q"`, `"\x4"`, `"\xzz"`, `"\`} {
		if got, err := Words(bad); !errors.Is(err, ErrQuoting) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

func TestScript(t *testing.T) {
	r := New(Options{In: strings.NewReader("one\n\ntwo")})
	defer r.Close()
	for _, want := range []string{"one", "", "two"} {
		if line, err := r.Line(); err != nil || line != want {
			t.Errorf("%q, %v; want %q", line, err, want)
		}
	}
	if _, err := r.Line(); !errors.Is(err, io.EOF) || r.Interactive() {
		t.Errorf("at the end: %v", err)
	}
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{`PUT a 1`, `'`, `"\x4f"`, `a\ b`, "\xff''", "# x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Words(line)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = Quote(w)
		}
		again, err := Words(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(again, words) {
			t.Fatalf("%q gives %q, quoted %q, gives %q, %v", line, words, quoted, again, err)
		}
	})
}
