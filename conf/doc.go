// Package conf reads a cluster's configuration: base.yml with the section and key names of Dinomo's
// own dinomo-base.yml, further files, the environment and --set flags, into one plain Config.
//
// base.yml is embedded: it is the list of keys, their documentation and the built-in defaults in
// one place. Layers are applied in this order, later ones win, and every value remembers where it
// came from:
//
//	built-in defaults (base.yml)
//	configuration files, in the order given
//	environment variables, those of the original's start script (PRIVATE_IP, SEED_IP, MON_IPS ...)
//	--set section.key=value
//
// What is not understood is refused, never skipped: an unknown key, a value of another kind or out of
// its range, values that contradict each other. Each error names file and line, what was found, what
// was expected, and the nearest key there is. All errors of a load are reported together.
//
// An unmodified dinomo-base.yml loads. Keys of it that mean nothing here (a second memory tier, the
// memcached servers of Clover) are accepted, checked, and answered with a Note that says why.
//
// Numbers without a unit have the original's: megabytes for memory-cap, seconds for grace-period,
// milliseconds for timeout. Every size may be written 64KiB or 1.5GiB, every duration 10s or 1.2ms.
//
// The package does not know the packages it configures: they own their Options, and the composition
// root fills these from a Config. It reads files and nothing else; the environment is passed in.
package conf
