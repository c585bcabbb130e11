package timeline

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzReadJSON: what is read is written so that it is read as the same.
func FuzzReadJSON(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add([]byte(`{"name":"x","windows":[{}],"marks":[{}]}`))
	var b bytes.Buffer
	if err := (&Timeline{}).WriteJSON(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := ReadJSON(bytes.NewReader(text))
		if err != nil {
			return
		}
		write := func(t *testing.T, line *Timeline) []byte {
			var b bytes.Buffer
			if err := line.WriteJSON(&b); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		once := write(t, first)
		second, err := ReadJSON(bytes.NewReader(once))
		if err != nil {
			t.Fatal(err)
		}
		if twice := write(t, second); !bytes.Equal(once, twice) || reflect.TypeOf(first) != reflect.TypeOf(second) {
			t.Errorf("%s became %s", once, twice)
		}
	})
}
