package dac

// EntryBytes returns what a shortcut and what a value entry take at the least: a slot of the
// table at its highest load, with its part of the tally; the same and a chunk without rounding. It is the price list for
// comparing a policy with the best possible choice.
func EntryBytes(keyBytes, valueBytes int) (shortcut, value int) {
	return entryBytes, entryBytes + plainHeader + keyBytes + valueBytes
}
