package conf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// file applies a configuration file. at names it; the nodes of the parsed tree give the lines.
func (l *loader) file(at Origin, text []byte) {
	if len(text) > maxFileBytes {
		l.problem(ErrRead, at, "the file is longer than %d bytes; is it a configuration?", maxFileBytes)
		return
	}
	if reason := excessive(text); reason != "" {
		l.problem(ErrSyntax, at, "%s; is it a configuration?", reason)
		return
	}
	body, err := parse(text)
	if err != nil {
		l.syntaxError(at, err)
		return
	}
	switch body := body.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode: // nothing but comments
	case *ast.MappingNode:
		l.mapping(at, "", body)
	default:
		l.problem(ErrSyntax, l.on(at, body), "found %s, expected sections such as \"policy:\"", shapeOf(body))
	}
}

// excessive says what about a text is beyond what the parser should be given, or "".
func excessive(text []byte) string {
	if n := bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{")); n > maxBrackets {
		return fmt.Sprintf("the file has %d opening brackets, expected at most %d", n, maxBrackets)
	}
	line := 0
	for l := range bytes.Lines(text) {
		line++
		if len(l) > maxLineBytes {
			return fmt.Sprintf("line %d has %d bytes, expected at most %d", line, len(l), maxLineBytes)
		}
	}
	return ""
}

// syntaxError reports what parse returned, with its line where it has one.
func (l *loader) syntaxError(at Origin, err error) {
	var parsers yaml.Error
	var second *secondDocumentError
	switch {
	case errors.As(err, &second):
		at.Line = second.line
	case errors.As(err, &parsers):
		if t := parsers.GetToken(); t != nil && t.Position != nil {
			at.Line = t.Position.Line
		}
		l.problem(ErrSyntax, at, "%s", parsers.GetMessage())
		return
	}
	l.problem(ErrSyntax, at, "%v", err)
}

// secondDocumentError says where a file goes on after its end.
type secondDocumentError struct{ line int }

func (e *secondDocumentError) Error() string { return "found a second document (---), expected one" }

// parse returns the only document of a YAML text, nil when it is empty.
func parse(text []byte) (body ast.Node, err error) {
	// The parser is not ours and its input anybody's: a panic in it is a syntax error to the user.
	defer func() {
		if r := recover(); r != nil {
			body, err = nil, fmt.Errorf("the YAML parser gave up: %v", r)
		}
	}()
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, err
	}
	if len(tree.Docs) > 1 {
		second := &secondDocumentError{}
		if start := tree.Docs[1].Start; start != nil {
			second.line = start.Position.Line
		}
		return nil, second
	}
	if len(tree.Docs) == 0 {
		return nil, nil
	}
	return tree.Docs[0].Body, nil
}

// on returns the place of a node.
func (l *loader) on(at Origin, n ast.Node) Origin {
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			at.Line = t.Position.Line
		}
	}
	return at
}

// mapping applies the keys of a section; prefix is its path with a trailing point.
func (l *loader) mapping(at Origin, prefix string, section *ast.MappingNode) {
	for _, entry := range section.Values {
		here := l.on(at, entry.Key)
		name := entry.Key.GetToken().Value
		if !plainKey(entry.Key) {
			l.problem(ErrSyntax, here, "found the key %.100q, expected a plain name", name)
			continue
		}
		path := prefix + name
		if k, ok := l.byPath[path]; ok {
			l.set(k, here, inputOf(k, entry.Value))
			continue
		}
		if !l.sections[path] {
			l.unknown(here, path)
			continue
		}
		switch value := entry.Value.(type) {
		case *ast.MappingNode:
			l.mapping(at, path+".", value)
		case *ast.NullNode: // a section whose keys are all commented out
		default:
			l.problem(ErrBadValue, here, "%s: found %s, expected the section's keys: %s", path, shapeOf(value), l.keysOf(path))
		}
	}
}

// plainKey tells whether a mapping's key is a name and nothing cleverer.
func plainKey(n ast.MapKeyNode) bool {
	_, ok := n.(*ast.StringNode)
	return ok
}

// inputOf turns a node into words. Scalars count as they are written: 8 and "8" are the same.
func inputOf(k key, n ast.Node) input {
	switch n := n.(type) {
	case *ast.NullNode:
		if k.value.isList() {
			return input{list: true}
		}
		return input{words: []string{""}}
	case *ast.SequenceNode:
		in := input{list: true}
		for _, element := range n.Values {
			word, ok := wordOf(element)
			if !ok {
				return input{shape: "a list with " + shapeOf(element) + " in it"}
			}
			in.words = append(in.words, word)
		}
		return in
	default:
		if word, ok := wordOf(n); ok {
			return input{words: []string{word}}
		}
		return input{shape: shapeOf(n)}
	}
}

// wordOf returns a scalar as written, without its quotes.
func wordOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return strings.TrimSpace(n.GetToken().Value), true
	}
	return "", false
}

// shapeOf names what a node is, for error messages.
func shapeOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "a YAML anchor or alias, which configurations do without"
	case *ast.TagNode:
		return "a YAML tag, which configurations do without"
	case *ast.LiteralNode:
		return "a text of several lines"
	}
	if word, ok := wordOf(n); ok {
		return fmt.Sprintf("%.100q", word)
	}
	return "a YAML " + strings.ToLower(n.Type().String())
}
