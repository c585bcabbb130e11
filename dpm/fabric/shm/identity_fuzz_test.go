//go:build linux

package shm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// FuzzIdentity: a file's name by a listener is taken as it was given, or refused as another pool's; so is what stands behind it.
func FuzzIdentity(f *testing.F) {
	f.Add(identity{boot: [16]byte{1, 2, 3}, device: 4, inode: 5}.encode())
	f.Add(extra{identity: identity{inode: 5}, life: fabric.Life{Offset: 64, Word: 7}}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseIdentity(b)
		if err == nil && !bytes.Equal(id.encode(), b) || err != nil && !errors.Is(err, fabric.ErrWrongPool) {
			t.Errorf("% x is %+v, %v", b, id, err)
		}
		const poolBytes = 1 << 20
		e, err := parseExtra(b, poolBytes)
		if err == nil && (!bytes.Equal(e.encode(), b) || e.life.Offset >= poolBytes) || err != nil && !errors.Is(err, fabric.ErrWrongPool) {
			t.Errorf("% x is %+v, %v", b, e, err)
		}
	})
}
