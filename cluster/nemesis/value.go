package nemesis

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// A value is "<client>.<n>|<length>|" and so many bytes that follow from the rest: it differs from all others, and one
// that was torn or mixed does not read back (NEM-3).

// makeValue returns the value of a client's n-th write, with so many bytes of padding, and what the history calls it.
func makeValue(client, n, padding int) (name string, value []byte) {
	name = strconv.Itoa(client) + "." + strconv.Itoa(n)
	value = fmt.Appendf(make([]byte, 0, len(name)+8+padding), "%s|%d|", name, padding)
	return name, appendPadding(value, name, padding)
}

// appendPadding appends n bytes that follow from a name.
func appendPadding(b []byte, name string, n int) []byte {
	word := xxhash.Sum64String(name)
	for range n {
		word = word*6364136223846793005 + 1442695040888963407
		b = append(b, 'a'+byte(word>>59))
	}
	return b
}

// parseValue returns what the history calls a value, or, for one that nobody can have written, what is wrong with it.
func parseValue(value []byte) (name string, whole bool) {
	name, rest, ok := strings.Cut(string(value), "|")
	digits, padding, ok2 := strings.Cut(rest, "|")
	n, err := strconv.Atoi(digits)
	if ok && ok2 && err == nil && n == len(padding) && padding == string(appendPadding(nil, name, n)) {
		return name, true
	}
	return fmt.Sprintf("damaged value of %d bytes: %.80q", len(value), value), false
}
