package pmem

import "fmt"

var durabilityNames = [...]string{Volatile: "volatile", Process: "process", Fsync: "fsync", DAX: "dax"}

// String returns the mode's name, as the configuration spells it.
func (d Durability) String() string {
	if d == 0 || int(d) >= len(durabilityNames) {
		return fmt.Sprintf("durability%d", uint8(d))
	}
	return durabilityNames[d]
}

// ParseDurability returns the mode of that name.
func ParseDurability(name string) (Durability, error) {
	for d := Volatile; int(d) < len(durabilityNames); d++ {
		if durabilityNames[d] == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("durability %q: want volatile, process, fsync or dax", name)
}
