package command

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

func TestParse(t *testing.T) {
	datadriven.RunTest(t, "testdata/parse.txt", func(t *testing.T, d *datadriven.TestData) string {
		var b strings.Builder
		for _, text := range strings.Split(d.Input, "\n") {
			c, err := Parse(text)
			switch {
			case err != nil:
				fmt.Fprintln(&b, err)
			case d.Cmd == "parts":
				fmt.Fprintln(&b, c, parts(c))
			default:
				fmt.Fprintf(&b, "%T %s\n", c, c)
			}
		}
		return b.String()
	})
}

func parts(c Command) (out []KeyRange) {
	switch c := c.(type) {
	case Load:
		for node := range c.Nodes {
			for thread := range c.ThreadsPerNode {
				out = append(out, c.Part(node, thread))
			}
		}
	case AnnaWarm:
		for thread := range c.Threads {
			out = append(out, c.Part(thread))
		}
	}
	return out
}

func TestPartsCoverEveryKeyOnce(t *testing.T) {
	for keys := uint64(1); keys < 60; keys++ {
		for threads := 1; threads < 6; threads++ {
			c := Load{Keys: keys, ThreadsPerNode: threads, Nodes: 3}
			next := uint64(1)
			for _, r := range parts(c) {
				if r.First != next || r.Next < r.First || r.Len() > keys/uint64(3*threads)+1 {
					t.Fatalf("%s: part %v after key %d", c, r, next-1)
				}
				next = r.Next
			}
			if next != keys+1 {
				t.Fatalf("%s: parts end before key %d", c, next)
			}
		}
	}
	if r := (Load{Keys: 10, ThreadsPerNode: 1, Nodes: 1}).Part(1, 0); r.Len() != 0 {
		t.Fatalf("a node that is not meant loads %v", r)
	}
}

func TestHelpCoversEveryWord(t *testing.T) {
	help := Help()
	for _, w := range Words() {
		if !strings.Contains(help, w+":") {
			t.Errorf("Help has no line for %s", w)
		}
	}
	for _, g := range grammars {
		if _, err := Parse(g.example); err != nil {
			t.Errorf("example of %s: %v", g.word, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range grammars {
		f.Add(g.example)
		f.Add(g.example + ":1:1")
	}
	f.Add("LOAD:G")
	f.Add("::::")
	f.Add("RUN:1e-9:1:1:1e5:1:1e1:1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) || len(err.Error()) > 2048 {
				t.Fatalf("refusal %q", err)
			}
			return
		}
		again, err := Parse(c.String())
		if err != nil || again != c {
			t.Fatalf("%q gives %#v; its line %q gives %#v, %v", text, c, c.String(), again, err)
		}
	})
}
