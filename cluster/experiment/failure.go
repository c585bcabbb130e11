package experiment

// Failover is what the failure of a KN meant for its keys.
type Failover struct{}

func (f Failover) String() string { return "" }
