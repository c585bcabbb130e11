package experiment

// HotKeyRow is how often the hot key was read while it had so many owners.
type HotKeyRow struct {
	Owners         int     `json:"owners"`
	Seconds        float64 `json:"seconds"`
	Reads          uint64  `json:"reads"`
	ReadsPerSecond float64 `json:"reads_per_second"`
}
