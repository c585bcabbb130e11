package conf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxListLength bounds a list; addresses of a whole cluster fit.
const maxListLength = 1024

// A value is one place of a Config that can be set from text and shown as text.
type value interface {
	// set takes one word. It fails when the word is not what expected says, and changes nothing then.
	set(word string) error
	// setList takes the elements of a list.
	setList(words []string) error
	// isList tells whether it is setList that applies.
	isList() bool
	// String gives a text which set or setList reads back to the same value.
	String() string
	// json gives what a JSON report shows: a number, a boolean, a string, a list of strings.
	json() any
	// expected says what set wants: "a whole number from 1 to 64".
	expected() string
}

// scalar is a value of a single word.
type scalar[T any] struct {
	target *T
	parse  func(string) (T, error)
	format func(T) string
	asJSON func(T) any // nil: the formatted text
	want   string
}

func (s scalar[T]) set(word string) error {
	v, err := s.parse(word)
	if err != nil {
		return err
	}
	*s.target = v
	return nil
}

func (s scalar[T]) setList([]string) error { return errExpectation }
func (s scalar[T]) isList() bool           { return false }
func (s scalar[T]) String() string         { return s.format(*s.target) }
func (s scalar[T]) expected() string       { return s.want }

func (s scalar[T]) json() any {
	if s.asJSON == nil {
		return s.format(*s.target)
	}
	return s.asJSON(*s.target)
}

func itself[T any](v T) any { return v }

func intValue(target *int, low, high int) value {
	want := fmt.Sprintf("a whole number from %d to %d", low, high)
	if low == high {
		want = strconv.Itoa(low)
	}
	return scalar[int]{target, func(word string) (int, error) {
		n, err := strconv.Atoi(word)
		if err != nil || n < low || n > high {
			return 0, errExpectation
		}
		return n, nil
	}, strconv.Itoa, itself[int], want}
}

func floatValue(target *float64, low, high float64) value {
	format := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	return scalar[float64]{target, func(word string) (float64, error) {
		f, err := strconv.ParseFloat(word, 64)
		if err != nil || !(f >= low && f <= high) { // not a number fails too
			return 0, errExpectation
		}
		return f, nil
	}, format, itself[float64], fmt.Sprintf("a number from %s to %s", format(low), format(high))}
}

var boolWords = map[string]bool{"true": true, "yes": true, "on": true, "false": false, "no": false, "off": false}

func boolValue(target *bool) value {
	return scalar[bool]{target, func(word string) (bool, error) {
		b, ok := boolWords[strings.ToLower(word)]
		if !ok {
			return false, errExpectation
		}
		return b, nil
	}, strconv.FormatBool, itself[bool], "true or false"}
}

// sizeValue is a size; a number without a unit counts in units of bare.
func sizeValue(target *ByteSize, bare, low, high ByteSize) value {
	return scalar[ByteSize]{target, func(word string) (ByteSize, error) {
		s, err := ParseByteSize(word, bare)
		if err != nil || s < low || s > high {
			return 0, errExpectation
		}
		return s, nil
	}, ByteSize.String, nil, fmt.Sprintf("a size from %v to %v, in %s or written like 64KiB", low, high, strings.TrimPrefix(bare.String(), "1"))}
}

// durationValue is a time; a number without a unit counts in units of bare.
func durationValue(target *time.Duration, bare, low, high time.Duration) value {
	unit := strings.TrimPrefix(formatDuration(bare), "1")
	return scalar[time.Duration]{target, func(word string) (time.Duration, error) {
		d, err := parseDuration(word, bare)
		if err != nil || d < low || d > high {
			return 0, errExpectation
		}
		return d, nil
	}, formatDuration, nil, fmt.Sprintf("a time from %s to %s, in %s or written like 1.5s", formatDuration(low), formatDuration(high), unit)}
}

// formatDuration is Duration.String without zeros that say nothing: 24h, 1m30s, 5m.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseDuration(word string, bare time.Duration) (time.Duration, error) {
	if plainNumber(word) {
		f, err := strconv.ParseFloat(word, 64)
		if err != nil || f*float64(bare) >= 1<<62 {
			return 0, errExpectation
		}
		return time.Duration(f * float64(bare)), nil
	}
	return time.ParseDuration(word)
}

// textValue is a free text for which valid holds.
func textValue(target *string, want string, valid func(string) bool) value {
	return scalar[string]{target, func(word string) (string, error) {
		word = strings.TrimSpace(word)
		if len(word) > maxTextBytes || !utf8.ValidString(word) || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }) || !valid(word) {
			return "", errExpectation
		}
		return word, nil
	}, func(s string) string { return s }, nil, want}
}

// maxTextBytes bounds a free text: the longest path that Linux takes.
const maxTextBytes = 4096

func enumValue(target *string, words ...string) value {
	return textValue(target, "one of "+strings.Join(words, ", "), func(word string) bool {
		for _, w := range words {
			if w == word {
				return true
			}
		}
		return false
	})
}

// parseIP takes a numeric address and returns its one text form.
func parseIP(word string) (string, error) {
	addr, err := netip.ParseAddr(word)
	if err != nil || addr.Zone() != "" {
		return "", errExpectation
	}
	return addr.String(), nil
}

func ipValue(target *string) value {
	return scalar[string]{target, parseIP, func(s string) string { return s }, nil, "a numeric IP"}
}

// optionalIPValue takes "NULL" and the empty text, as the original's scripts write them, for none.
func optionalIPValue(target *string) value {
	return scalar[string]{target, func(word string) (string, error) {
		if word == "" || word == "NULL" {
			return "", nil
		}
		return parseIP(word)
	}, func(s string) string { return s }, nil, "a numeric IP, or nothing for none"}
}

// rankValue takes the original's placeholder for "set at deployment" as 0: the pool chooses.
func rankValue(target *int) value {
	v := intValue(target, 0, maxKNs).(scalar[int])
	number := v.parse
	v.parse = func(word string) (int, error) {
		if word == "NODE_UID" {
			return 0, nil
		}
		return number(word)
	}
	return v
}

// ipListValue is a list of numeric addresses without repetitions.
type ipListValue struct{ target *[]string }

func (v ipListValue) set(word string) error {
	if word == "" || word == "NULL" {
		return v.setList(nil)
	}
	return v.setList([]string{word})
}

func (v ipListValue) setList(words []string) error {
	if len(words) > maxListLength {
		return errExpectation
	}
	list := make([]string, 0, len(words))
	seen := make(map[string]bool, len(words))
	for _, word := range words {
		ip, err := parseIP(word)
		if err != nil {
			return errExpectation
		}
		if !seen[ip] {
			seen[ip] = true
			list = append(list, ip)
		}
	}
	*v.target = list
	return nil
}

func (v ipListValue) isList() bool   { return true }
func (v ipListValue) String() string { return strings.Join(*v.target, ",") }
func (v ipListValue) json() any      { return *v.target }
func (v ipListValue) expected() string {
	return fmt.Sprintf("a list of at most %d numeric IPs", maxListLength)
}
