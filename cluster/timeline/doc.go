// Package timeline collects what clients of a running cluster saw over time, with the events that explain it, and writes it
// as JSON and as a picture: throughput, latency and whatever else was sampled, one above the other, events as lines
// through all of them.
//
// It knows nothing about clusters: an experiment feeds it operations, events and samples, in durations since its beginning.
package timeline
