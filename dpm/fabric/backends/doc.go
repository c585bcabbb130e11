// Package backends knows the fabric's backends by the names that configurations use.
//
// It is the one place that lists them; sim is not among them, because it lives inside one process.
package backends
