package pmem

// WriteBack makes the stores to mem durable, for a peer that maps a DAX pool's file by itself (with
// MAP_SYNC) and so has no Region: it returns when all lines of mem have left the processors' caches
// for the persistent domain, or ErrNoDAX when this processor cannot write lines back.
func WriteBack(mem []byte) error {
	if err := haveWriteBack(); err != nil {
		return err
	}
	writeBackLines(mem)
	return nil
}
