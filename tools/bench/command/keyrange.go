package command

// KeyRange is a run of key numbers, [First, Next).
type KeyRange struct{ First, Next uint64 }

// Len is how many keys the range has.
func (r KeyRange) Len() uint64 { return r.Next - r.First }

// Part returns which of the keys 1 to Keys a thread loads. The parts of all threads of all nodes are disjoint and cover
// every key; where the keys do not divide evenly, parts differ by one key. A node or thread number outside
// the command's counts gets an empty part: it was not meant.
func (c Load) Part(node, thread int) KeyRange {
	if node < 0 || node >= c.Nodes || thread < 0 || thread >= c.ThreadsPerNode {
		return KeyRange{1, 1}
	}
	return part(c.Keys, uint64(node*c.ThreadsPerNode+thread), uint64(c.ThreadsPerNode*c.Nodes))
}

// Part returns which keys a thread loads, as Load.Part does. Anna numbers threads within a node only, so every node
// loads all keys; loading a key twice is harmless.
func (c AnnaWarm) Part(thread int) KeyRange {
	if thread < 0 || thread >= c.Threads {
		return KeyRange{1, 1}
	}
	return part(c.Keys, uint64(thread), uint64(c.Threads))
}

// part cuts the keys 1 to keys into equal parts and returns the one of an index.
func part(keys, index, parts uint64) KeyRange {
	each, more := keys/parts, keys%parts
	first := 1 + index*each + min(index, more)
	next := first + each
	if index < more {
		next++
	}
	return KeyRange{first, next}
}
