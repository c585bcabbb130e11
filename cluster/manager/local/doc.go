// Package local provisions nodes as processes of this machine: the same binary with another subcommand, configured by
// environment variables as the original's start script does it.
//
// Nothing is left behind: a process dies with the one that started it, however that ends (Linux's parent death
// signal), and Close waits for all. Each node's output goes to a log file of its own.
//
// A process that ends by itself, and not with exit status 0, is started again after a pause that doubles, up to a number
// of times within a while; then its node has failed.
package local
