package route

import (
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
)

// table is the map that the address threads answer from, with the owners' addresses ready made. One actor stores,
// all threads load.
type table struct {
	addresses atomic.Pointer[ownership.Addresses]
}

// load returns the addresses in force, or nil while there is no map or it has no members.
func (t *table) load() *ownership.Addresses {
	a := t.addresses.Load()
	if a == nil || len(a.Map().Members()) == 0 {
		return nil
	}
	return a
}

// current returns the newest map, or nil.
func (t *table) current() *hashring.Map {
	if a := t.addresses.Load(); a != nil {
		return a.Map()
	}
	return nil
}

func (t *table) epoch() hashring.Epoch {
	if m := t.current(); m != nil {
		return m.Epoch()
	}
	return 0
}
