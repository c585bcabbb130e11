// Package local provisions nodes as processes of this machine: the same binary with another subcommand, configured by
// environment variables as the original's start script does it.
//
// Nothing is left behind without being meant to: Close ends all processes and waits for them. When this process does not come
// to that, they die with it (Linux's parent death signal); or, with a journal, they stay, and the next provisioner with that
// journal takes them over: it finds each by a token in its environment, and watches it by a pidfd. With a Lifeline they end
// when the maker of that does, which may be further up. Each node's output goes to a log file of its own.
//
// A process that ends by itself, and not with exit status 0, is started again after a pause that doubles, up to a number
// of times within a while; then its node has failed.
package local
