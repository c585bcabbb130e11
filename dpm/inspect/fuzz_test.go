package inspect

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// FuzzVerify overwrites parts of a pool file, keeps the superblock sound, and looks at the result in every way there is: nothing
// may panic, hang or run out of the pool. Each patch is an offset of 5 bytes and 3 bytes to put there.
func FuzzVerify(f *testing.F) {
	for _, at := range []uint64{format.RootsOffset, 0x2000, 0x11a80, 0x29860} {
		f.Add(append(binary.LittleEndian.AppendUint64(nil, at)[:5], 1, 2, 3))
	}
	f.Fuzz(func(t *testing.T, patches []byte) {
		template, err := template(t)
		if err != nil {
			t.Fatal(err)
		}
		image := append([]byte(nil), template...)
		for ; len(patches) >= 8; patches = patches[8:] {
			at := binary.LittleEndian.Uint64(patches) & (1<<40 - 1) % uint64(len(image)-3)
			copy(image[max(at, format.SuperblockBytes):], patches[5:8])
		}
		path := filepath.Join(t.TempDir(), "pool")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []Command{{Subject: "verify"}, {Subject: "pool"}, {Subject: "segments"}, {Subject: "index"}, {Subject: "entry", Entry: "a3"}, {Subject: "entry", Entry: "hot"}} {
			c.Path = path
			_, _ = Run(t.Context(), c, io.Discard)
		}
		if p, err := dpm.Open(dpm.Options{Path: path, Workers: -1}); err == nil {
			_ = p.Close()
		}
	})
}

var templateImage []byte

// template returns a sound pool file.
func template(t *testing.T) ([]byte, error) {
	if templateImage != nil {
		return templateImage, nil
	}
	r, _, _ := filled(t)
	err := r.Pool.Close()
	if err == nil {
		templateImage, err = os.ReadFile(r.Path)
	}
	return templateImage, err
}
