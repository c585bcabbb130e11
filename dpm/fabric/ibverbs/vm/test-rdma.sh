#!/bin/bash
# test-rdma.sh [one|pair|pmem|cluster|pmem-cluster]: runs the RDMA tests where there is no RDMA hardware: Debian's kernel in QEMU makes a
# card of software (rxe) with the real libibverbs and librdmacm on top. Ends with the tests' exit code.
#   one   all tests of dpm/fabric/ibverbs in one guest, the card looped back
#   pair  the tests that need two machines, in two guests on one wire, and a measurement of that wire
#   pmem  durability on an emulated NVDIMM, with a hard reset in between
#   cluster  a whole cluster with fabric ibverbs in one guest: load, run, a KN and the DPM killed
#   pmem-cluster  whole clusters with their pools on NVDIMMs, a KN and the DPM killed, and a hard reset: with fabric ibverbs on a
#         device-dax, and with tcp and shm on ext4 -o dax (FABRICS chooses)
# Environment: RDMA_CACHE (default ~/.cache/dinomo-rdma), KREL, SMP, MEM, TIMEOUT, TESTARGS (e.g. "-test.run=Model|Flush -test.v").
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
mode=${1:-one}
cache=${RDMA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dinomo-rdma}
mkdir -p "$cache"
missing=()
for tool in qemu-system-x86_64:qemu-system-x86 cpio:cpio xz:xz-utils zstd:zstd gcc:gcc dpkg-deb:dpkg; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "test-rdma.sh: missing: ${missing[*]}; install with: apt-get install ${missing[*]}" >&2
  exit 2
fi

command -v go >/dev/null || { echo "test-rdma.sh: missing: Go, of the version that go.mod says; see https://go.dev/dl" >&2; exit 2; }

# The guest's files are made anew when a script that makes them has changed, or another kernel is asked for.
stamp=$(cat "$here"/{fetch,mkinitramfs,copylibs}.sh "$here/init" <(echo "${KREL:-}") | sha256sum | cut -c1-16)
if [ ! -e "$cache/made-$stamp" ]; then
  "$here/fetch.sh" "$cache"
  "$here/mkinitramfs.sh" "$cache"
  rm -f "$cache"/made-*
  touch "$cache/made-$stamp"
fi

overlay=$(mktemp -d "${TMPDIR:-/tmp}/rdma-overlay.XXXXXX")
chmod 755 "$overlay" # it becomes the guest's root directory, which not only root walks through
state=$(mktemp -d "${TMPDIR:-/tmp}/rdma-state.XXXXXX")
trap 'rm -rf "$overlay" "$state"' EXIT

# tests puts the compiled tests into the guest.
tests() {
  local run= arguments
  read -ra arguments <<< "${TESTARGS:-}"
  (cd "$here/.." && "$here/build.sh" "$cache" "$overlay/ibverbs.test" .)
  "$here/copylibs.sh" "$cache/sysroot" "$overlay" "$overlay/ibverbs.test"
  case $mode in
  pair) run="-test.run='^TestPair' -test.v" ;;
  pmem) run="-test.run='^TestPersistentMemory|^TestFileCannotBeRegistered' -test.v" ;;
  *) run= ;;
  esac
  cat > "$overlay/run.sh" <<END
#!/bin/sh
export RDMA_REQUIRED=1 RDMA_MODE=$mode
[ $mode != one ] || export RDMA_DEVICES=2
if [ $mode = pmem ]; then . /pmem.sh; fi
cd /tmp
/ibverbs.test -test.timeout $((${TIMEOUT:-170} - 15))s $run ${arguments[*]@Q} || exit
if [ $mode = pair ]; then . /bench.sh; fi
END
  chmod +x "$overlay/run.sh"
}

# twice KERNEL_PARAMETERS: boots twice with the same NVDIMMs. The first boot ends with a reset in the middle of work, and has said
# before what was acknowledged (ACKED=...).
twice() {
  cp "$here/pmem.sh" "$overlay/"
  local devices="-nic none" i acked
  for i in 0 1; do
    rm -f "$state/nvdimm$i"
    truncate -s 512M "$state/nvdimm$i"
    devices+=" -object memory-backend-file,id=m$i,share=on,mem-path=$state/nvdimm$i,size=512M,align=2M -device nvdimm,id=n$i,memdev=m$i"
  done
  export MACHINE=pc,nvdimm=on MAXMEM=,slots=4,maxmem=8G DEVICES=$devices
  APPEND="pmem=1 stage=1 $1" "$here/run-vm.sh" "$cache" "$overlay" 2>&1 | tee "$state/log" || true
  acked=$(sed -n 's/.*ACKED=\([a-z0-9,]*\).*/\1/p' "$state/log")
  [ -n "$acked" ] || { echo "test-rdma.sh: the first boot did not get as far as the reset" >&2; exit 1; }
  echo "test-rdma.sh: reset; booting again"
  APPEND="pmem=1 stage=2 acked=$acked $1" "$here/run-vm.sh" "$cache" "$overlay"
}

# program puts the program into the guest.
program() {
  (cd "$here/../../../.." && "$here/build.sh" "$cache" "$overlay/dinomo" ./tools/dinomo)
  "$here/copylibs.sh" "$cache/sysroot" "$overlay" "$overlay/dinomo"
}

# clusters makes the program's clusters the guest's job.
clusters() {
  program
  cp "$here/cluster.sh" "$overlay/run.sh"
  export MEM=${MEM:-4096} TIMEOUT=${TIMEOUT:-600}
}

case $mode in
one)
  tests
  APPEND="second=10.9.1.1/24" "$here/run-vm.sh" "$cache" "$overlay"
  ;;
pair)
  export TIMEOUT=${TIMEOUT:-300}
  tests
  program
  cp "$here/bench.sh" "$overlay/"
  "$here/run-pair.sh" "$cache" "$overlay"
  ;;
pmem)
  tests
  twice ""
  ;;
cluster)
  clusters
  "$here/run-vm.sh" "$cache" "$overlay"
  ;;
pmem-cluster)
  clusters
  for fabric in ${FABRICS:-ibverbs tcp shm}; do
    twice "fabric=$fabric"
  done
  ;;
*) echo "usage: test-rdma.sh [one|pair|pmem|cluster|pmem-cluster]" >&2; exit 2 ;;
esac
