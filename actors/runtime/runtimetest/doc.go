// Package runtimetest holds the yardstick of the request plane: a bare echo, and a driver that
// measures it and a real server in the same way, in the same process.
//
// What it does not do: judge. Callers compare two rates of one run.
package runtimetest
