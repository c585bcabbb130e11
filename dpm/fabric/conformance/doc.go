// Package conformance is the one suite that every fabric backend passes: order within a batch,
// atomicity of 8-byte words, failures and what they leave behind, calls, fencing, admission, and
// exact accounting. A backend's test calls Run.
//
// What a backend may differ in is named by the fields of Backend and by nothing else. The suite
// touches pool memory through queue pairs only while more than one is at work, because a network
// card's atomics need not be atomic with the processor's.
package conformance
