package hashring

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/internal/random"
)

func TestNewMapRefuses(t *testing.T) {
	ok := testMember(1, 2)
	change := func(f func(*Member)) []Member {
		m := ok
		f(&m)
		return []Member{m}
	}
	second := func(f func(*Member)) []Member {
		m := testMember(2, 2)
		f(&m)
		return []Member{ok, m}
	}
	manyKeys := make(map[string]Replication)
	for n := range MaxReplicatedKeys + 1 {
		manyKeys[fmt.Sprint(n)] = Replication{2, 1}
	}
	key := func(k string, r Replication) Spec { return Spec{Epoch: 1, Replicated: map[string]Replication{k: r}} }
	for name, c := range map[string]struct {
		spec Spec
		want string
	}{
		"epoch":          {Spec{}, "epochs start at 1"},
		"virtual nodes":  {Spec{Epoch: 1, VirtualNodes: -1}, "-1 virtual nodes, want 1 to 65536"},
		"points":         {testSpec(1000, 1, 5000), "configure fewer virtual nodes"},
		"members":        {testSpec(MaxMembers+1, 1, 1), "1025 members, want at most 1024"},
		"no threads":     {Spec{Epoch: 1, Members: change(func(m *Member) { m.Threads = 0 })}, "0 threads, want 1 to 64"},
		"threads":        {Spec{Epoch: 1, Members: change(func(m *Member) { m.Threads = 65 })}, "65 threads, want 1 to 64"},
		"rank":           {Spec{Epoch: 1, Members: change(func(m *Member) { m.Rank = NoRank })}, "reserved for nobody"},
		"host name":      {Spec{Epoch: 1, Members: change(func(m *Member) { m.PrivateIP = "node1" })}, `"node1" is no numeric IP`},
		"no public":      {Spec{Epoch: 1, Members: change(func(m *Member) { m.PublicIP = "" })}, `public address "" is no numeric IP`},
		"zone":           {Spec{Epoch: 1, Members: change(func(m *Member) { m.PrivateIP = "fe80::1%eth0" })}, "has a zone"},
		"spelling":       {Spec{Epoch: 1, Members: change(func(m *Member) { m.PrivateIP = "FE80::1" })}, `must be written "fe80::1"`},
		"long":           {Spec{Epoch: 1, Members: change(func(m *Member) { m.PrivateIP = strings.Repeat("1", 1000) })}, "has 1000 bytes"},
		"rank twice":     {Spec{Epoch: 1, Members: second(func(m *Member) { m.Rank = 1 })}, "10.0.0.2 and 10.0.0.3 both have rank 1"},
		"address twice":  {Spec{Epoch: 1, Members: second(func(m *Member) { m.PrivateIP = ok.PrivateIP })}, "ranks 1 and 2 both have the private address 10.0.0.2"},
		"empty key":      {key("", Replication{2, 1}), "0 bytes, want 1 to 65536"},
		"no global":      {key("k", Replication{0, 1}), `key "k" on 0 nodes, want 1 to 1024`},
		"global":         {key("k", Replication{1025, 1}), "on 1025 nodes"},
		"local":          {key("k", Replication{1, 65}), `key "k" on 65 threads a node, want 1 to 64`},
		"replicated":     {Spec{Epoch: 1, Replicated: manyKeys}, "16385 replicated keys, want at most 16384"},
		"replicated key": {key(strings.Repeat("k", MaxReplicatedKeyBytes+1), Replication{2, 1}), "65537 bytes"},
	} {
		m, err := NewMap(c.spec)
		if !errors.Is(err, ErrInvalidMap) || !strings.Contains(err.Error(), c.want) || m != nil {
			t.Errorf("%s: NewMap = %v, error %v, want ErrInvalidMap with %q", name, m, err, c.want)
		}
	}
}

func TestMapWithoutMembers(t *testing.T) {
	m := mustMap(t, Spec{Epoch: 1, Replicated: map[string]Replication{"k": {3, 2}}})
	if o, ok := m.PrimaryOwner(1); ok || o.Rank != NoRank {
		t.Errorf("PrimaryOwner = %v, %v", o, ok)
	}
	if got := m.OwnersOf([]byte("k"), nil); len(got) != 0 {
		t.Errorf("OwnersOf = %v", got)
	}
	if m.IsOwner(1, 0, 0) || m.Serves([]byte("k"), KeyHash([]byte("k")), 0, 0) {
		t.Error("somebody owns a key of a map without members")
	}
}

func TestWithoutAnUnknownRank(t *testing.T) {
	if _, err := mustMap(t, testSpec(2, 1, 8)).Without(7); !errors.Is(err, ErrUnknownRank) {
		t.Fatalf("Without(7) = %v, want ErrUnknownRank", err)
	}
}

// A map is what its specification says, and nobody's later writes reach it.
func TestMapSharesNothingWithItsCaller(t *testing.T) {
	s := testSpec(3, 2, 16)
	s.Replicated = map[string]Replication{"k": {2, 2}, "plain": {1, 1}}
	m := mustMap(t, s)
	before := m.String()
	s.Members[0].Threads = 9
	s.Replicated["k"] = Replication{3, 1}
	spec := m.Spec()
	spec.Members[0].Rank = 99
	spec.Replicated["k"] = Replication{4, 4}
	if m.String() != before {
		t.Fatalf("the map changed from\n%s to\n%s", before, m)
	}
	if strings.Contains(before, "plain") || m.ReplicatedKeys() != 1 {
		t.Fatalf("a key with a single owner counts as replicated:\n%s", before)
	}
	for key, r := range m.Replicated() {
		if key != "k" || r != (Replication{2, 2}) {
			t.Fatalf("Replicated yields %q %v", key, r)
		}
	}
}

// RING-1: whatever way a map came about, on whatever node, the owners are those of the naive ring.
func TestOwnersDependOnTheSpecificationAlone(t *testing.T) {
	r := random.New(random.Seed(t))
	const keys = 200
	m := mustMap(t, Spec{Epoch: 1, VirtualNodes: 24})
	for range 60 {
		previous := m
		m = randomStep(t, r, m, keys)
		if m.Epoch() != previous.Epoch()+1 {
			t.Fatalf("epoch %d after %d", m.Epoch(), previous.Epoch())
		}
		s := m.Spec()
		r.Shuffle(len(s.Members), func(i, j int) { s.Members[i], s.Members[j] = s.Members[j], s.Members[i] })
		fresh := mustMap(t, s)
		if fresh.String() != m.String() {
			t.Fatalf("fresh\n%vderived\n%v", fresh, m)
		}
		for range 40 {
			key := randomKey(r, keys)
			checkOwners(t, m, fresh, key)
		}
	}
}

func checkOwners(t *testing.T, m, fresh *Map, key []byte) {
	t.Helper()
	want := naiveKeyOwners(m.Spec(), key)
	hash := KeyHash(key)
	if got := m.OwnersOf(key, nil); !slices.Equal(got, want) {
		t.Fatalf("owners of %q = %v, want %v in\n%v", key, got, want, m)
	}
	if got := fresh.OwnersOfHashed(key, hash, nil); !slices.Equal(got, want) {
		t.Fatalf("owners of %q on another node = %v, want %v in\n%v", key, got, want, m)
	}
	if o, ok := m.PrimaryOwner(hash); ok != (len(want) > 0) || ok && o != want[0] {
		t.Fatalf("primary owner of %q = %v, want the first of %v", key, o, want)
	}
	for _, member := range m.Members() {
		for thread := range member.Threads {
			o := Owner{member.Rank, thread}
			if m.Serves(key, hash, o.Rank, o.Thread) != slices.Contains(want, o) {
				t.Fatalf("Serves(%q, %v) = %v, owners are %v", key, o, !slices.Contains(want, o), want)
			}
			if m.IsOwner(hash, o.Rank, o.Thread) != (o == want[0]) {
				t.Fatalf("IsOwner(%q, %v) = %v, owners are %v", key, o, o != want[0], want)
			}
		}
		if m.Serves(key, hash, member.Rank, member.Threads) || m.Serves(key, hash, member.Rank, -1) {
			t.Fatalf("%q is served by a thread that rank %d has not", key, member.Rank)
		}
	}
}

func TestDeriveSharesTheRing(t *testing.T) {
	m := mustMap(t, testSpec(3, 2, 16))
	replicated := must(t)(m.WithReplication(map[string]Replication{"k": {2, 1}}))
	restarted := m.Members()[0]
	restarted.Incarnation, restarted.Rank, restarted.Threads = 9, 77, 4
	again := must(t)(replicated.With(restarted))
	if replicated.ring != m.ring || again.ring != m.ring {
		t.Error("the ring was built again although the members' addresses are the same")
	}
	if joined := must(t)(m.With(testMember(9, 1))); joined.ring == m.ring {
		t.Error("the ring is shared although a member joined")
	}
}

// A restarted node gets its ranges back whatever its rank, incarnation and place in the list are.
func TestRestartKeepsTheRanges(t *testing.T) {
	m := mustMap(t, testSpec(5, 2, 300))
	gone := m.Members()[2]
	back := gone
	back.Rank, back.Incarnation = 50, gone.Incarnation+1
	after := must(t)(must(t)(m.Without(gone.Rank)).With(back))
	for n := range 2000 {
		hash := KeyHash(fmt.Appendf(nil, "%d", n))
		before, _ := m.PrimaryOwner(hash)
		now, _ := after.PrimaryOwner(hash)
		if before.Rank == gone.Rank {
			before.Rank = back.Rank
		}
		if now != before {
			t.Fatalf("key %d: owner %v, want %v", n, now, before)
		}
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	s := testSpec(64, 4, 0)
	s.Replicated = map[string]Replication{"hot": {16, 2}}
	m := mustMap(t, s)
	key, hot := []byte("some key"), []byte("hot")
	hash, hotHash := KeyHash(key), KeyHash(hot)
	dst := make([]Owner, 0, 64)
	moves := Moves(m, must(t)(m.With(testMember(70, 4))))
	if n := testing.AllocsPerRun(100, func() {
		m.PrimaryOwner(hash)
		m.IsOwner(hash, 3, 1)
		m.Serves(key, hash, 3, 1)
		m.Serves(hot, hotHash, 3, 1)
		m.Owners(hash, 3, dst)
		m.OwnersOf(hot, dst)
		m.Replication(hot)
		moves.Contains(hash)
		moves.ContainsKey(hot, hotHash)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// FuzzNewMap feeds NewMap what a damaged pool or a hostile peer could: it refuses, or every lookup works.
func FuzzNewMap(f *testing.F) {
	f.Add(uint64(1), 0, "10.0.0.1", uint32(1), 2, "10.0.0.2", uint32(2), 1, "k", 2, 1)
	f.Add(uint64(0), -1, "::1", uint32(1), 65, "::2", uint32(1), 0, "", -1, 70)
	f.Add(uint64(1)<<63, 1, "::ffff:1.2.3.4", uint32(NoRank), 64, "1.2.3.4", uint32(0), 64, "x", 1024, 64)
	f.Fuzz(func(t *testing.T, epoch uint64, virtualNodes int, ip1 string, rank1 uint32, threads1 int,
		ip2 string, rank2 uint32, threads2 int, key string, global, local int) {
		if virtualNodes > 64 {
			virtualNodes %= 64
		}
		m, err := NewMap(Spec{
			Epoch: Epoch(epoch), VirtualNodes: virtualNodes,
			Members: []Member{
				{Rank: Rank(rank1), PublicIP: ip1, PrivateIP: ip1, Threads: threads1},
				{Rank: Rank(rank2), PublicIP: ip1, PrivateIP: ip2, Threads: threads2},
			},
			Replicated: map[string]Replication{key: {global, local}},
		})
		if err != nil {
			if !errors.Is(err, ErrInvalidMap) {
				t.Fatalf("error %v is no ErrInvalidMap", err)
			}
			return
		}
		owners := m.OwnersOf([]byte(key), nil)
		if len(owners) == 0 {
			t.Fatalf("no owner of %q in\n%v", key, m)
		}
		for _, o := range owners {
			if !m.Serves([]byte(key), KeyHash([]byte(key)), o.Rank, o.Thread) {
				t.Fatalf("owner %v does not serve %q in\n%v", o, key, m)
			}
		}
	})
}
