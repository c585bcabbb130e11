// Package lint holds the house rules that a compiler does not know, as tests over the source tree:
// who may import whom (docs/architecture.md, "Layout"), which calls only certain packages may make,
// that every package has a contract in its doc.go, and a ratchet on function length.
//
// It has no code of its own beside the tests.
package lint
