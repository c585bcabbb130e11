// Package format is the pool's durable layout: every byte that outlives a process is defined here,
// and nowhere else.
//
// All numbers are little-endian. An offset counts bytes from the start of the pool; offset 0 is
// nil. The pool is one file (or one piece of anonymous memory):
//
//	+--------------------+ 0
//	| superblock 4 KiB   | written once, checksummed                       superblock.go
//	+--------------------+ 4096
//	| roots page 4 KiB   | two index roots, server epoch                   root.go
//	+--------------------+ MetadataOffset
//	| metadata           | MetadataRecords x two slots                     metadata.go
//	+--------------------+ RankOffset
//	| rank (lease) table | Ranks x 64 B                                    rank.go
//	+--------------------+ IndirectOffset
//	| indirect pointers  | IndirectWords x 8 B, each a Pointer             pointer.go
//	+--------------------+ FilterOffset
//	| lattice filter     | FilterBytes of Bloom bits                       filter.go
//	+--------------------+ SegmentTableOffset
//	| segment table      | Segments x 64 B                                 segment.go
//	+--------------------+ DirectoryOffset[0], DirectoryOffset[1]
//	| index directories  | two of Segments x 4 B                           root.go
//	+--------------------+ SegmentsOffset, a multiple of SegmentBytes
//	| segments           | Segments x SegmentBytes: log entries (entry.go)
//	|                    | or index buckets (bucket.go)
//	+--------------------+ TotalBytes
//
// How damage is found. Records that are written as a whole (superblock, root, directory, metadata
// slot, log entry) carry a CRC32C over all their bytes. Words that change alone, by one atomic
// 8-byte store (segment, rank and bucket words), are checked words (word.go): 48 bits of payload
// and a 16-bit CRC bound to the word's role, so every flip of up to three bits in one word is found,
// and a word of another role is not mistaken for it. A Pointer has seven bits of check, which find as many flips
// (pointer.go), and what it leads to must be an entry of its size and generation. A slot's hash proves itself against the key
// of the entry behind it, and a lease word means nothing but that it changed.
//
// Invariants:
//
//   - DPM-4 (its half): an entry proves itself. CheckEntry accepts bytes only as the very entry a
//     Pointer was made for: same segment generation, same size, same key, checksum right.
//   - Zero bytes are never an entry, never a pointer, and always a valid free segment or rank.
//   - Decoders take hostile bytes: they check bounds first, allocate nothing on success, and say
//     which check failed.
//
// The package computes and checks; it does no I/O, holds no state and knows no pool.
package format
