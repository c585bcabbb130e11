#!/bin/bash
# build.sh CACHE OUT PACKAGE: compiles with RDMA against the development files that fetch.sh got: a package's tests, or
# a program.
set -euo pipefail
sysroot=$(readlink -f "$1")/sysroot
lib=$sysroot/usr/lib/x86_64-linux-gnu
export CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$sysroot/usr/include" CGO_LDFLAGS="-L$lib -Wl,-rpath-link,$lib"
case $3 in
*/dinomo) exec go build -tags rdma -o "$2" "$3" ;;
*) exec go test -c -tags rdma,rdmatest ${GOFLAGS_TEST:-} -o "$2" "$3" ;;
esac
