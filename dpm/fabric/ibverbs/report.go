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

// CardCounters are what a queue pair has asked of its card, messages included.
type CardCounters struct {
	Doorbells    uint64
	WorkRequests uint64
	Signalled    uint64 // work requests with a completion of their own; each covers those before it
	Inlined      uint64 // work requests that carried their payload with them
	Sleeps       uint64 // waits that polling did not end
}
