// Package clustertest is what tests of whole clusters share: the built program, and loopback networks that do not meet.
package clustertest
