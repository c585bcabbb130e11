#!/bin/sh
# Makes sure that the Debian packages that a make target needs are there.
#   tools/install-deps.sh PACKAGE...
# It asks dpkg first, so it costs nothing when all is there. As root it installs what is missing; else it
# says which command would.
set -eu
missing=""
for package in "$@"; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
	echo "needs the Debian packages$missing (or what your system calls them)" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "needs Debian packages: sudo apt-get install -y$missing" >&2
	exit 1
fi
echo "installing$missing"
# shellcheck disable=SC2086 # the list is meant to be split
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null 2>&1 || {
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
}
