package dac

import (
	"errors"
	"strings"
	"testing"
)

// FuzzPolicy: a policy's name is refused, or a cache can be made with it.
func FuzzPolicy(f *testing.F) {
	for _, name := range Policies() {
		f.Add(name)
	}
	for _, name := range []string{"", "static", "static:", "static:NaN", "static:1.5", "static:0x1p-2", "paper:", "none:1", "Adaptive"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		kind, share, err := parsePolicy(name)
		o := Options{Policy: name}
		o.EnsureDefaults()
		switch {
		case err != nil && !errors.Is(err, ErrPolicy):
			t.Errorf("%q: %v", name, err)
		case err == nil && (!strings.HasPrefix(name, kind) || !(share >= 0 && share <= 1)):
			t.Errorf("%q is %q with a share of %v", name, kind, share)
		case name != "" && (o.Validate() == nil) != (err == nil):
			t.Errorf("%q: %v, but a cache says %v", name, err, o.Validate())
		}
	})
}
