// Package clock is the only place of the project that asks the machine what time it is.
//
// Everything else takes a Clock (or a time.Time) as an argument, so that tests and the
// simulator run on virtual time. A lint test refuses time.Now, time.Sleep, time.After,
// time.NewTimer and time.NewTicker outside this package.
package clock
