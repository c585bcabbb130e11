#!/bin/bash
# run-pair.sh CACHE OVERLAY: two guests on one wire (a socket between the QEMUs; no port of the host's). Rank 0 has
# 10.9.0.1, rank 1 has 10.9.0.2; run.sh sees RANK, SELF and PEER. Ends with rank 1's code, or rank 0's if that is 0.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
wire=$(mktemp -d "${TMPDIR:-/tmp}/rdma-wire.XXXXXX")
pids=()
trap 'for f in "$wire"/pid*; do [ ! -e "$f" ] || kill "$(cat "$f")" 2>/dev/null; done; rm -rf "$wire"' EXIT
guest() { # rank, is the wire's server
  DEVICES="-netdev stream,id=n0,addr.type=unix,addr.path=$wire/wire,server=$2 -device virtio-net-pci,netdev=n0,romfile=,host_mtu=${MTU:-9000},mac=52:54:00:00:00:0$(($1 + 1))" \
    PIDFILE=$wire/pid$1 IP="10.9.0.$(($1 + 1))/24" APPEND="rank=$1 peer=10.9.0.$((2 - $1))" SMP=${SMP:-1} exec "$here/run-vm.sh" "$cache" "$overlay"
}
cache=$1 overlay=$2
(guest 0 on) > >(sed 's/^/[rank 0] /') 2>&1 &
pids+=($!)
for _ in $(seq 200); do
  [ -S "$wire/wire" ] && break
  sleep 0.05
done
(guest 1 off) > >(sed 's/^/[rank 1] /') 2>&1 &
pids+=($!)
wait "${pids[1]}"
one=$?
if [ $one -ne 0 ]; then # nobody will tell rank 0 to end
  sleep 1
  kill "$(cat "$wire/pid0")" 2>/dev/null
fi
wait "${pids[0]}"
zero=$?
echo "run-pair.sh: rank 0 ended with $zero, rank 1 with $one"
[ $one -eq 0 ] || exit $one
exit $zero
