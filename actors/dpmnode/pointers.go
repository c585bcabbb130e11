package dpmnode

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/planted"
	"github.com/dinomo-kv/dinomo/messages"
)

// pointers guards the indirect pointers of replicated keys against late messages. A pointer that is missing while
// several owners write is a disaster; one that nobody needs costs a round trip until the key's next write is merged.
// So an installation is always carried out, and a removal only if no map can need the pointer: not the one in force, and
// not the next one that a coordinator may be about to swap in, which had its pointers installed first. What cannot be ruled
// out after a restart of this node is assumed until the map has changed.
type pointers struct {
	openedAt  uint64            // the ownership record's version when this node began
	blind     bool              // it could not be read then
	installed map[string]uint64 // keys whose pointers were wanted -> the version at that time
	running   map[bool]int      // chores under way, by what they do: true installs
}

// maxInstalled bounds the keys that are remembered; more installations are refused until the map changes.
const maxInstalled = 1 << 16

func newPointers(p pool) pointers {
	_, version, err := p.MetaGet(ownership.RecordName)
	return pointers{
		openedAt: version, blind: err != nil && !errors.Is(err, dpm.ErrNoRecord),
		installed: map[string]uint64{}, running: map[bool]int{},
	}
}

// changePointers installs or removes indirect pointers.
func (c *control) changePointers(p *messages.PointersChange, out *runtime.Outbox) {
	install, keys := p.GetInstall(), p.GetKeys()
	key := choreKey{purpose: pointing, request: fmt.Sprintf("%t %s", install, p.GetRequestId())}
	who := asker{p.GetResponseAddress(), p.GetRequestId()}
	refuse := func(why string) {
		c.send(out, who.address, &messages.PointersState{RequestId: who.id, Error: why})
	}
	// The two kinds take turns, so that what a removal was found to be does not change before it is done.
	if c.pointers.running[!install] > 0 {
		refuse("another change of pointers is under way; ask again")
		return
	}
	if install {
		if err := c.pointers.note(c.pool, keys); err != nil {
			refuse(err.Error())
			return
		}
	} else {
		var err error
		if keys, err = c.pointers.removable(c.pool, keys); err != nil {
			refuse(err.Error())
			return
		}
	}
	_, again := c.chores[key]
	started := c.begin(key, 0, false, who, func() choreResult {
		done, err := c.pool.PointerChange(keys, install)
		return choreResult{install: install, done: done, err: err}
	})
	switch {
	case !started:
		refuse("too many changes are under way; ask again")
	case !again:
		c.pointers.running[install]++
	}
}

// note remembers that a coordinator is about to swap in a map that needs the keys' pointers.
func (s *pointers) note(p pool, keys [][]byte) error {
	_, version, err := p.MetaGet(ownership.RecordName)
	if err != nil && !errors.Is(err, dpm.ErrNoRecord) {
		return err
	}
	for key, at := range s.installed {
		if at != version { // that change has been made, or lost
			delete(s.installed, key)
		}
	}
	if len(s.installed)+len(keys) > maxInstalled {
		return fmt.Errorf("pointers of %d keys are being installed already; ask again", len(s.installed))
	}
	for _, key := range keys {
		s.installed[string(key)] = version
	}
	return nil
}

// removable returns those of the keys whose pointers no map can need.
func (s *pointers) removable(p pool, keys [][]byte) ([][]byte, error) {
	record, version, err := p.MetaGet(ownership.RecordName)
	if err != nil {
		return nil, err
	}
	if planted.Has(planted.LateRemoval) {
		return keys, nil
	}
	if s.blind || version == s.openedAt {
		return nil, nil // somebody may have had pointers installed before this node was started anew
	}
	m, err := ownership.Decode(record, version, nil)
	if err != nil {
		return nil, err
	}
	var some [][]byte
	for _, key := range keys {
		at, wanted := s.installed[string(key)]
		if m.Replication(key) == hashring.Single && !(wanted && at == version) {
			some = append(some, key)
		}
	}
	return some, nil
}
