package ibverbs

// Level says how bad a finding is.
type Level uint8

// The levels.
const (
	LevelGood Level = iota
	LevelWarning
	LevelBad
)

// Finding is one thing that Probe looked at.
type Finding struct {
	Level  Level
	Detail string
	Hint   string // what to do
}
