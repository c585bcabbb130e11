// Package trace yields sequences of cache operations: read from a file or made up from a law.
//
// A file is ours (text, one operation a line: "G key [value_bytes]", "U key [value_bytes]" or
// "D key") or a public Twitter cache trace (CSV: timestamp, key, key size, value size, client,
// operation, TTL); either may be compressed with zstd. Which it is shows in the first bytes.
//
// Files are hostile until checked: lines, keys and sizes are bounded, and an error names the
// line and what was expected. The package holds one operation at a time, whatever the size of
// a trace. It does not replay anything; that is package replay's.
package trace
