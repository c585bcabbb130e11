package format

// The lattice filter is a Bloom filter over the hashes of all keys that were ever stored with a
// lattice type other than LWW. A KN reads it to learn that a key is certainly not of such a type,
// and then writes blind. Bits are only ever set.
//
//	 word 0            word 1                     word FilterBytes/8 - 1
//	+-----------------+-----------------+-- ... --+-----------------+
//	| 64 Bloom bits   | 64 Bloom bits   |         | 64 Bloom bits   |
//	+-----------------+-----------------+-- ... --+-----------------+
//
// All four bits of a key lie in one word, so one 8-byte READ answers; that costs some precision
// against a classic Bloom filter of the same size and saves three reads.

// FilterProbes is how many bits of its word a key sets (bits may coincide).
const FilterProbes = 4

// FilterWord returns which word of a filter of filterBytes (a power of two of at least 8) belongs
// to the key hash, as a byte offset within the filter, and the bits that the key sets in it.
func FilterWord(hash, filterBytes uint64) (offset, bits uint64) {
	// The hash's bits choose index buckets too; another multiplier keeps the two choices apart.
	mixed := (hash ^ hash>>29) * 0xbf58476d1ce4e5b9
	mixed ^= mixed >> 32
	offset = mixed & (filterBytes/WordBytes - 1) * WordBytes
	probe := mixed * 0x94d049bb133111eb
	for range FilterProbes {
		bits |= 1 << (probe >> 58)
		probe <<= 6
	}
	return offset, bits
}
