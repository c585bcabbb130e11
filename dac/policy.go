package dac

// policy decides; the cache does. Its methods are called after the cache looked the key up.
type policy interface {
	// missed: e was read after a miss; the cache has no entry for it.
	missed(c *Cache, e *entry)
	// read: e was read through its shortcut, which is still at s.
	read(c *Cache, s slotID, e *entry)
	// written: e was written. s is its entry, a shortcut or the value of the same key, with
	// the old contents, or noSlot.
	written(c *Cache, s slotID, e *entry)
}
