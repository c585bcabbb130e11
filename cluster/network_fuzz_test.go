package cluster

import "testing"

// FuzzParseNetwork: a network is written so that it is read as the same.
func FuzzParseNetwork(f *testing.F) {
	for _, s := range []string{"127.0.10.0/24", "127.0.10.1", "10.2.3.99", "::1", "127.0.0.0/16", "", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNetwork(s)
		if err != nil {
			return
		}
		if again, err := ParseNetwork(n.String()); err != nil || again != n {
			t.Errorf("%q is %v, written so it is %v (%v)", s, n, again, err)
		}
		if i := n.BenchIndex(n.Bench(3)); i != 3 {
			t.Errorf("%v: benchmark node 3 has index %d", n, i)
		}
	})
}
