package history

import "strings"

// A causal value, as histories have it, is a vector clock, a bar, and the letters that concurrent writes have left, in order. The clock has
// a place of three digits for each of CausalWriters: 001000...|a is the first writer's first write. What a write follows it
// replaces; what follows it makes it void; what is neither is kept beside it, under the greater count of each place.

// CausalWriters is how many writers a causal value has room for.
const CausalWriters = 8

const (
	placeDigits  = 3
	causalDigits = CausalWriters * placeDigits
)

// isCausal says whether text is a causal value.
func isCausal(text string) bool {
	if len(text) < causalDigits+2 || text[causalDigits] != '|' {
		return false
	}
	return strings.Trim(text[:causalDigits], "0123456789") == ""
}

// mergeCausal merges b into a, both causal values.
func mergeCausal(a, b string) string {
	var ahead, behind bool
	var greater [causalDigits]byte
	for i := 0; i < causalDigits; i += placeDigits {
		mine, theirs := a[i:i+placeDigits], b[i:i+placeDigits]
		ahead, behind = ahead || mine > theirs, behind || mine < theirs
		copy(greater[i:], max(mine, theirs))
	}
	switch {
	case ahead && !behind:
		return a
	case behind && !ahead:
		return b
	}
	letters := a[causalDigits+1:]
	for i := causalDigits + 1; i < len(b); i++ {
		letters = with(letters, b[i:i+1])
	}
	return string(greater[:]) + "|" + letters
}
