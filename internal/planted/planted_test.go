package planted

import "testing"

// TestOnlyOnRequest: a build without the tag has no bug, one with it has what the variable names.
func TestOnlyOnRequest(t *testing.T) {
	seen := map[Bug]bool{}
	for _, b := range All {
		if Has(b) && !Possible {
			t.Errorf("%s is planted in an ordinary build", b)
		}
		if b == "" || seen[b] {
			t.Errorf("bug %q has no name of its own", b)
		}
		seen[b] = true
	}
}
