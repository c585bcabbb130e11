// Command dinomo is every role of a Dinomo cluster and every tool for it, a subcommand each. `dinomo help` lists
// them.
//
// Entry points are thin: flags and the environment become a configuration, the configuration becomes the options of a
// package, and the package does the work. This is the only place that ends the process (exit status 0: all went well,
// 1: something failed, 2: the command line was wrong) and that reads flags.
package main
