package ownership

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/messages"
)

func testMap(t *testing.T) *hashring.Map {
	t.Helper()
	m, err := hashring.NewMap(hashring.Spec{
		Epoch: 7, VirtualNodes: 50,
		Members: []hashring.Member{
			{Rank: 1, PublicIP: "127.0.0.11", PrivateIP: "127.0.0.11", Threads: 2, Incarnation: 3},
			{Rank: 2, PublicIP: "127.0.0.12", PrivateIP: "127.0.0.12", Threads: 4, Incarnation: 1},
		},
		Replicated: map[string]hashring.Replication{"hot\x00\xff": {Global: 2, Local: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMapSurvivesTheWire(t *testing.T) {
	m := testMap(t)
	record, err := Encode(m, "127.0.0.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, previous := range []*hashring.Map{nil, m} {
		got, err := Decode(record, 7, previous)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != m.String() {
			t.Errorf("came back as\n%s\nwant\n%s", got, m)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	m := testMap(t)
	record, err := Encode(m, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(record, 8, nil); err == nil {
		t.Error("a record of another epoch than its version was taken")
	}
	if _, err := Decode(record[:len(record)-1], 7, nil); err == nil {
		t.Error("a truncated record was taken")
	}
	if _, err := FromWire(nil, nil); !errors.Is(err, ErrNoMap) {
		t.Errorf("no map: %v", err)
	}
	w := ToWire(m, "")
	w.Members[0].Threads = 1000
	if _, err := FromWire(w, nil); !errors.Is(err, hashring.ErrInvalidMap) {
		t.Errorf("1000 threads: %v", err)
	}
}

func TestAddressesFollowTheRing(t *testing.T) {
	m := testMap(t)
	addresses, err := NewAddresses(m, messages.PlanDinomo)
	if err != nil {
		t.Fatal(err)
	}
	room := make([]hashring.Owner, 0, 8)
	var dst []string
	for i := range 100 {
		key := fmt.Appendf(nil, "key%d", i)
		hash := hashring.KeyHash(key)
		dst = addresses.Of(key, hash, room, dst[:0])
		owner, _ := m.PrimaryOwner(hash)
		member, _ := m.Member(owner.Rank)
		want := fmt.Sprintf("tcp://%s:%d", member.PublicIP, 6400+owner.Thread)
		if len(dst) != 1 || dst[0] != want || addresses.Thread(owner) != want {
			t.Fatalf("%s: %v, want %s", key, dst, want)
		}
	}
	hot := []byte("hot\x00\xff")
	if got := addresses.Of(hot, hashring.KeyHash(hot), room, nil); len(got) != 2 || got[0] == got[1] {
		t.Errorf("a key with two owners has addresses %v", got)
	}
	key := []byte("key1")
	hash := hashring.KeyHash(key)
	dst = make([]string, 0, 4)
	if n := testing.AllocsPerRun(100, func() { dst = addresses.Of(key, hash, room, dst[:0]) }); n != 0 {
		t.Errorf("Of allocates %v times", n)
	}
}

func FuzzDecode(f *testing.F) {
	m, err := hashring.NewMap(hashring.Spec{Epoch: 1, VirtualNodes: 2, Members: []hashring.Member{
		{Rank: 1, PublicIP: "127.0.0.1", PrivateIP: "127.0.0.1", Threads: 1, Incarnation: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	record, err := Encode(m, "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record, uint64(1))
	f.Add([]byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, record []byte, version uint64) {
		if m, err := Decode(record, version, nil); err == nil && uint64(m.Epoch()) != version {
			t.Fatalf("epoch %d from version %d", m.Epoch(), version)
		}
	})
}
