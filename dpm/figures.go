package dpm

// Figures returns all figures by the names that String shows.
func (st Stats) Figures() map[string]uint64 {
	all := make(map[string]uint64)
	for _, f := range st.figures() {
		all[f.name] = *f.value
	}
	return all
}
