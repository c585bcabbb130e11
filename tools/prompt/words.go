package prompt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrQuoting means that a line's quotes do not match, or that a backslash is followed by nothing it knows.
var ErrQuoting = errors.New("bad quoting")

// QuotingRules describes Words for a HELP text.
const QuotingRules = `Words are separated by spaces or tabs. Quoting:
  'single quotes'   everything as it is, up to the next single quote
  "double quotes"   as it is, but for \n \t \r \0 \\ \" \' and \xHH (two hex digits: any byte)
  \                 outside quotes, takes the next character as it is
  ''                an empty word
A line that begins with # is a comment. Everything else, UTF-8 or not, is itself.
`

// Words splits a line by QuotingRules. An empty line or a comment gives no words.
func Words(line string) ([]string, error) {
	if strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
		return nil, nil
	}
	s := splitter{rest: line}
	for s.rest != "" && s.err == nil {
		s.step()
	}
	s.endWord()
	if s.err != nil {
		return nil, s.err
	}
	return s.words, nil
}

// splitter is the state of Words.
type splitter struct {
	rest  string
	words []string
	word  []byte
	open  bool // a word has begun, perhaps an empty one
	err   error
}

func (s *splitter) endWord() {
	if s.open {
		s.words = append(s.words, string(s.word))
		s.word, s.open = nil, false
	}
}

// step takes one character, or one quoted part.
func (s *splitter) step() {
	c := s.rest[0]
	s.rest = s.rest[1:]
	switch c {
	case ' ', '\t', '\r':
		s.endWord()
	case '\'':
		part, rest, ok := strings.Cut(s.rest, "'")
		if !ok {
			s.err = fmt.Errorf("%w: a single quote is not closed", ErrQuoting)
		}
		s.word, s.rest, s.open = append(s.word, part...), rest, true
	case '"':
		s.open = true
		s.quoted()
	case '\\':
		if s.rest == "" {
			s.err = fmt.Errorf("%w: nothing follows the last backslash", ErrQuoting)
			return
		}
		s.word, s.rest, s.open = append(s.word, s.rest[0]), s.rest[1:], true
	default:
		s.word, s.open = append(s.word, c), true
	}
}

// quoted takes the rest of a double-quoted part.
func (s *splitter) quoted() {
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch c {
		case '"':
			return
		case '\\':
			if s.escape(); s.err != nil {
				return
			}
		default:
			s.word = append(s.word, c)
		}
	}
	s.err = fmt.Errorf("%w: a double quote is not closed", ErrQuoting)
}

var escapes = map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '0': 0, '\\': '\\', '"': '"', '\'': '\''}

// escape takes what follows a backslash in double quotes.
func (s *splitter) escape() {
	if len(s.rest) >= 3 && s.rest[0] == 'x' {
		if n, err := strconv.ParseUint(s.rest[1:3], 16, 8); err == nil {
			s.word, s.rest = append(s.word, byte(n)), s.rest[3:]
			return
		}
	}
	if s.rest != "" {
		if b, ok := escapes[s.rest[0]]; ok {
			s.word, s.rest = append(s.word, b), s.rest[1:]
			return
		}
	}
	s.err = fmt.Errorf("%w: \\ in double quotes before none of n t r 0 \\ \" ' xHH", ErrQuoting)
}

// Quote returns word so that Words gives it back, and so that it can be shown on a terminal: as it is when it is made of plain
// printable characters, else in double quotes.
func Quote(word string) string {
	plain := word != "" && word[0] != '#'
	for i := 0; i < len(word) && plain; i++ {
		c := word[i]
		plain = c > ' ' && c < 0x7f && c != '\'' && c != '"' && c != '\\'
	}
	if plain {
		return word
	}
	b := []byte{'"'}
	for i := range len(word) {
		switch c := word[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c >= 0x7f:
			b = fmt.Appendf(b, `\x%02x`, c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
