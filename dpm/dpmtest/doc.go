// Package dpmtest is a pool with a KN attached to it, in one process, for tests of what stands on both: a real pool file,
// a real listener on loopback, real verbs.
//
// It asserts nothing about the pool: whatever goes wrong while it is set up fails the test.
package dpmtest
