// Package soak watches how much memory processes take through a long run and judges it: a KN stays within its configured cache
// and a constant, whatever it is asked (SOAK-1).
//
// What counts is what a process has resident, but for the pages of the pool's file: over the shm fabric a KN maps the pool, and
// its pages are the pool's memory, which every KN that looks at them would be charged for.
package soak
