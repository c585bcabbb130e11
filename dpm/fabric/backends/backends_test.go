package backends_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
)

func TestLookup(t *testing.T) {
	for _, name := range backends.Names() {
		b, err := backends.Lookup(name, backends.Options{})
		if err != nil || b.Name != name || b.Listen == nil || b.Dialer == nil {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		l, err := b.Listen(nil, nil, fabric.ListenOptions{Address: "nowhere:-1"})
		if err == nil || l != nil {
			t.Errorf("%s listens nowhere: %v, %v", name, l, err)
		}
		if b.Available != nil && !errors.Is(err, b.Available) {
			t.Errorf("%s is not available (%v), but listening says %v", name, b.Available, err)
		}
	}
	if _, err := backends.Lookup("rdma", backends.Options{}); err == nil || !strings.Contains(err.Error(), "shm, tcp, ibverbs") {
		t.Errorf("an unknown name: %v", err)
	}
}
