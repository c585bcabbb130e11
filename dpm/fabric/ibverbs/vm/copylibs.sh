#!/bin/bash
# copylibs.sh SYSROOT ROOT FILE...: copies the shared libraries that FILEs are linked with into ROOT,
# those of SYSROOT before the host's.
set -euo pipefail
sysroot=$1 root=$2
shift 2
lib=usr/lib/x86_64-linux-gnu
mkdir -p "$root/$lib" "$root/usr/lib64"
export LD_LIBRARY_PATH=$sysroot/$lib:$sysroot/lib/x86_64-linux-gnu
list=$(for f in "$@"; do ldd "$f" 2>/dev/null || true; done | sort -u) # static files have none
if grep -q 'not found' <<<"$list"; then
  echo "copylibs.sh: $(grep 'not found' <<<"$list")" >&2
  exit 1
fi
awk '/=> \//{print $3} $1 ~ /^\/.*ld-linux/{print $1}' <<<"$list" | sort -u | while read -r f; do
  case $f in
  *ld-linux*) cp -L "$f" "$root/usr/lib64/" ;;
  *) cp -L "$f" "$root/$lib/" ;;
  esac
done
