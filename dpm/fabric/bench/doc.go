// Package bench measures and checks a fabric: latency and rate for each verb and size on any
// backend (Run), and whether a machine can use a backend at all, with what to do when not (Probe). `dinomo fabric
// bench` and `dinomo fabric probe` are thin commands over it.
//
// By default it serves a pool of its own, so it can be run anywhere at any time. Against a live DPM it
// posts READs only, unless a scratch range is named: it knows nothing of what a pool's bytes mean.
package bench
